"""Makes Envoy's configuration in containers, out of the template that `make run` uses: deploy/envoy/envoy.yaml.

`python -m deploy.docker.envoy_config FOLDER` writes envoy.yaml and the descriptor set reco.pb into a folder that Envoy
mounts read-only. Envoy's official image has nothing that could fill in a template, and lacks our descriptor set. So the
gateway's image makes both, once, before Envoy starts (compose.yaml: service `envoy-config`; on Kubernetes an init
container): the official image stays as it is, and Envoy knows the very protos that the gateway does.

Each value can be set by an environment variable, RECO_ENVOY_ and the placeholder's name: RECO_ENVOY_TIMEOUT=300s.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

from services.common.limits import MAX_BODY_BYTES

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "RECO_ENVOY_"


def main() -> int:
    """Writes both files; returns 1 where a placeholder has no value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    template = (ROOT / "deploy" / "envoy" / "envoy.yaml").read_text()
    try:
        config = render(template, {**defaults(folder), **given(os.environ)})
    except KeyError as err:
        print(f"deploy/envoy/envoy.yaml wants {err.args[0]}: set {PREFIX}{err.args[0]}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "gen" / "reco.pb", folder / "reco.pb")
    (folder / "envoy.yaml").write_text(config)
    return 0


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with its ${PLACEHOLDERS} filled in; a KeyError names one without a value."""
    return Template(template).substitute(values)


def defaults(folder: Path) -> dict[str, object]:
    """What fits a container; `folder` is where Envoy sees the two files."""
    return {
        "ADMIN_PORT": 9901,
        "LISTEN_ADDRESS": "0.0.0.0",
        "LISTEN_PORT": 8001,
        "GATEWAY_HOST": "gateway",
        "GATEWAY_PORT": 50050,
        "DESCRIPTOR_SET": folder / "reco.pb",
        "MAX_BODY_BYTES": MAX_BODY_BYTES,
        "FIRST_TOO_LARGE": MAX_BODY_BYTES + 1,
        "TIMEOUT": "120s",
    }


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """The values that the environment sets."""
    wanted = re.compile(re.escape(PREFIX) + r"(\w+)")
    return {match[1]: value for name, value in environment.items() if (match := wanted.fullmatch(name))}


if __name__ == "__main__":
    sys.exit(main())
