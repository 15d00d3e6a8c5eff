"""Makes, lists and revokes keys, and checks and prints the audit log: what `make key`, `keys`, `revoke-key`, `audit` call.

`python -m services.gateway.access new --name door --role verify --expires 90d`. Settings as the gateway's:
RECO_ENV_FILE, RECO_AUDIT_LOG.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.common.database import Database
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.gateway.access.audit import AuditFile, Event, entries
from services.gateway.access.keyring import KeyTables
from services.gateway.access.keys import OPERATOR, Key, KeyTable, seconds_of
from services.gateway.access.open import ALLOW_ANONYMOUS, MAKE_KEY
from services.gateway.access.roles import Role


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where it could not be done, or the audit log is broken."""
    options = _options(arguments)
    env_file = EnvFile(Path(os.environ.get("RECO_ENV_FILE", ".env")))
    given = os.environ.get("RECO_AUDIT_LOG")
    audit = AuditFile(env_file, Path(given) if given else None)
    try:
        if options.command == "audit":
            return _print_audit(audit.path)
        if options.command == "wait":
            return _wait(KeyTables(env_file, Database(env_file.root)))
        return _keys(options, KeyTables(env_file, Database(env_file.root)).open(), audit)
    except (RecoError, OSError) as err:
        print(err, file=sys.stderr)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key, and print it this once")
    new.add_argument("--name", required=True, help="whose it is, or of what: door")
    new.add_argument("--role", required=True, type=Role, choices=list(Role), help="what it may")
    new.add_argument("--expires", default="", help="after 12h, 90d, 1y; never if not given")
    commands.add_parser("list", help="all keys that were ever made")
    commands.add_parser("revoke", help="make a key worthless").add_argument("--name", required=True)
    commands.add_parser("wait", help="wait until a key exists, and say how to make it; not where all may come in")
    commands.add_parser("audit", help="check the audit log, and print it")
    return parser.parse_args(arguments)


def _keys(options: argparse.Namespace, table: KeyTable, audit: AuditFile) -> int:
    if options.command == "list":
        _print_keys(table.all())
        return 0
    if options.command == "revoke":
        table.revoke(options.name)
        audit.record(Event(OPERATOR, "revoke_key", options.name, "revoked", "-"))
        print(f"{options.name} is revoked; no request with it is let in from the next seconds on")
        return 0
    secret = table.add(options.name, options.role, seconds_of(options.expires) if options.expires else None)
    audit.record(Event(OPERATOR, "make_key", options.name, options.role.value, "-"))
    print(secret)
    print("This is the key; it is shown this once and kept nowhere. Send it as", file=sys.stderr)
    print("authorization: Bearer KEY, or as x-api-key: KEY.", file=sys.stderr)
    return 0


def _wait(tables: KeyTables) -> int:
    """For a place where the first key can be made only when something runs already: a pod of Kubernetes."""
    said = ""
    while os.environ.get(ALLOW_ANONYMOUS, "").lower() != "true":
        try:
            if tables.open().all():
                break
            why = f"Waiting for the first key. Make it here: {MAKE_KEY}\n"
            why += f"or, where all may do everything: {ALLOW_ANONYMOUS}=true"
        except RecoError as err:
            why = f"Waiting for the database: {err}"
        if why != said:
            print(why, flush=True)
        said = why
        time.sleep(1)
    return 0


def _print_keys(keys: Sequence[Key]) -> None:
    now = datetime.now(UTC).timestamp()
    if not keys:
        print("There is no key.")
        return
    row = "{:<24} {:<7} {:<9} {:<17} {:<17} {}"
    print(row.format("name", "role", "state", "made", "expires", "last used"))
    for key in keys:
        state = "revoked" if key.revoked is not None else "valid" if key.is_valid(now) else "expired"
        times = (_time(key.created), _time(key.expires), _time(key.last_used))
        print(row.format(key.name, key.role, state, *times))


def _time(seconds: int | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def _print_audit(path: Path) -> int:
    """Prints all lines; returns 1 where one cannot be trusted."""
    broken, last, number = 0, "none", 0
    for entry in entries(path):
        number, last = entry.number, entry.hash or last
        if entry.event:
            event = entry.event
            print(f"{entry.time} {event.key} {event.action} {event.person} {event.outcome} {event.request}")
        if entry.problem:
            broken += 1
            print(f"{path}: line {entry.number} {entry.problem}", file=sys.stderr)
    if broken:
        return 1
    print(f"{number} lines, each follows from the one before it; the last one's hash: {last}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
