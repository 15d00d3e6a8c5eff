"""`make move-database`: puts all people into another database, as from SQLite into MySQL, and has `.env` name it.

The services are to be stopped meanwhile. The database they are in now stays as it is.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.data.agreement import check, show
from deploy.data.database import as_it_is, copy_rows
from deploy.data.installation import ENV_FILE, Installation
from services.common.errors import RecoError
from services.common.private import keep_files_private


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    keep_files_private()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("new_env", type=Path, help="a copy of .env that names the other database")
    parser.add_argument("--env-file", type=Path, default=ENV_FILE)
    parser.add_argument("--gateway", default="127.0.0.1:15050", help="where it would listen")
    options = parser.parse_args(arguments)
    if _answers(options.gateway):
        print(f"Stop RECO first: something listens on {options.gateway}", file=sys.stderr)
        return 1
    try:
        findings = move(options.env_file, options.new_env)
    except (RecoError, OSError) as err:
        print(f"Nothing was moved: {err}", file=sys.stderr)
        return 1
    return 1 if findings else 0


def move(env_file: Path, new_env: Path) -> int:
    """Says what was done; returns the number of findings afterwards. Raises RecoError, OSError."""
    source = Installation(env_file)
    target = Installation(new_env)
    copy = source.env.db_path / ".moving.sqlite"
    try:
        with source.nobody_changes():
            with as_it_is(source.engine, copy) as connection:
                copied = copy_rows(connection, source.env, target.engine, target.env)
            source.locks.check()
            before = env_file.with_name(f"{env_file.name}.before")
            before.write_bytes(env_file.read_bytes())
            new_env.replace(env_file)
    finally:
        for name in (copy, Path(f"{copy}-wal"), Path(f"{copy}-shm")):
            name.unlink(missing_ok=True)
    print(f"{sum(copied.values())} rows are copied, and {env_file} names the new database; it was {before}")
    findings = check(target)
    show(findings, target)
    return len(findings)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
