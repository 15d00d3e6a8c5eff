"""Makes the settings for containers: a `.env` out of .env.example with the containers' paths, and passwords by chance.

`python3 -m deploy.docker.configure` writes, and never overwrites, below var/containers:

    config/.env         what the services read, mounted as /config; a change takes effect at once
    sql_password        of the database's user reco, the same as SQL_PASS
    sql_root_password   of its administrator

Needs nothing but Python. Containers run as another user than you, so the files must be readable to all: the folder
var/containers itself is closed to others instead.
"""

import argparse
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Returns 1 where there are settings already."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "containers")
    parser.add_argument("--database", default="mariadb", help="host, or host:port")
    options = parser.parse_args()
    if options.folder.exists():
        print(f"{options.folder} is there already; nothing was changed", file=sys.stderr)
        return 1
    write(options.folder, settings(options.database))
    print(f"wrote {options.folder}/config/.env and two passwords; look through the settings before you start")
    return 0


def settings(database: str) -> dict[str, str]:
    """What differs from .env.example in a container."""
    return {
        "MODEL_PATH": "/data/models",
        "SQL_URI": database,
        "SQL_USER": "reco",
        "SQL_PASS": secrets.token_hex(16),
        "DB_PATH": "/data/photos",
        "UPLOAD_FOLDER": "/data/uploads",
        "LOG_LOC": "/tmp/reco.log",  # the log goes to standard output as well, which is where containers keep it
        "SUPER_PASSWORD": f"{secrets.token_hex(16)}aA1!",
    }


def write(folder: Path, changed: Mapping[str, str]) -> None:
    """Writes all files; the folder must not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    (folder / "config").mkdir()
    (folder / "config").chmod(0o755)
    texts = {
        "config/.env": "".join(f"{changed_line(line, changed)}\n" for line in example()),
        "sql_password": changed["SQL_PASS"],
        "sql_root_password": secrets.token_hex(16),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)


def example() -> list[str]:
    """The lines of .env.example."""
    return (ROOT / ".env.example").read_text().splitlines()


def changed_line(line: str, changed: Mapping[str, str]) -> str:
    """A line of the example with its value changed where `changed` names its key."""
    key, assigned, value = line.partition("=")
    return f"{key}={changed.get(key, value)}" if assigned and not line.startswith("#") else line


if __name__ == "__main__":
    sys.exit(main())
