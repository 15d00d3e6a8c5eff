"""Writes the document: python -m deploy.openapi, which `make openapi` does."""

import importlib
import json
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.openapi.comments import Comments
from deploy.openapi.document import document

ROOT = Path(__file__).parents[2]
DESCRIPTOR_SET = ROOT / "gen" / "reco.pb"
FILE = ROOT / "services" / "gateway" / "openapi.json"

PACKAGE = "reco.gateway.v1"
#: What browsers ask, and no client does.
PAGES = {"ConsoleService"}


def text() -> str:
    """The document as the file has it."""
    files = FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes()).file
    pool, ours = descriptor_pool.Default(), [file for file in files if file.package.startswith("reco.")]
    for file in ours:
        importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")  # adds itself to the pool
    names = {service.name for file in ours if file.package == PACKAGE for service in file.service}
    services = [pool.FindServiceByName(f"{PACKAGE}.{name}") for name in sorted(names - PAGES)]
    return json.dumps(document(services, Comments(ours)), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
