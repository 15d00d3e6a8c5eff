"""Makes Envoy's configuration in containers, out of the template that `make run` uses: deploy/envoy/envoy.yaml.

`python -m deploy.docker.envoy_config FOLDER` writes envoy.yaml and the descriptor set reco.pb into a folder that Envoy
mounts read-only. Envoy's official image has nothing that could fill in a template, and lacks our descriptor set. So the
gateway's image makes both, once, before Envoy starts (compose.yaml: service `envoy-config`; on Kubernetes an init
container): the official image stays as it is, and Envoy knows the very protos that the gateway does.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from deploy.envoy.render import PREFIX, render

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Writes both files; returns 1 where a value is missing or does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        config = render(os.environ, place(folder))
    except KeyError as err:
        print(f"deploy/envoy/envoy.yaml wants {err.args[0]}: set {PREFIX}{err.args[0]}", file=sys.stderr)
        return 1
    except ValueError as err:
        print(err, file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "gen" / "reco.pb", folder / "reco.pb")
    (folder / "envoy.yaml").write_text(config)
    return 0


def place(folder: Path) -> dict[str, object]:
    """What fits a container; `folder` is where Envoy sees the two files."""
    return {
        "ADMIN_PORT": 9901,
        "STATS_PORT": 9100,
        "LISTEN_ADDRESS": "0.0.0.0",
        "LISTEN_PORT": 8001,
        "GATEWAY_HOST": "gateway",
        "GATEWAY_PORT": 50050,
        "DESCRIPTOR_SET": folder / "reco.pb",
    }


if __name__ == "__main__":
    sys.exit(main())
