"""`make backup`: the database, photos, settings, audit log and keys in one file that a passphrase closes.

All as they are at one moment, while the services run: enrollments and erasures wait until photos are linked and the
database's state is held on to, and no longer. Uploads that wait are not in it: they are kept for a day anyway.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from deploy.data.archive import writing_backup
from deploy.data.database import as_it_is, copy_rows, make_tables, opened_file
from deploy.data.installation import ENV_FILE, Installation
from deploy.data.passphrase import read_passphrase
from services.common.database import reading
from services.common.encryption import KEY, KEY_FILE
from services.common.errors import RecoError
from services.common.private import keep_files_private
from services.embedder.gallery.tables import templates
from services.gateway.version import VERSION

#: Of the members of a backup.
DATABASE, SETTINGS, AUDIT_LOG, KEYS, PHOTOS = (
    "database.sqlite",
    "settings.env",
    "audit.log",
    "encryption.keys",
    "photos",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    keep_files_private()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--env-file", type=Path, default=ENV_FILE)
    parser.add_argument("--to", type=Path, help="the file; var/backups/reco-TIME.backup if not given")
    parser.add_argument("--passphrase-file", type=Path, help="asked for if not given")
    options = parser.parse_args(arguments)
    target = options.to or Path(f"var/backups/reco-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.backup")
    try:
        installation = Installation(options.env_file)
        passphrase = read_passphrase(options.passphrase_file, new=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        people, photos = back_up(installation, target, passphrase)
    except (RecoError, OSError) as err:
        print(f"No backup was made: {err}", file=sys.stderr)
        return 1
    print(f"{target}: {people} people, {photos} photos. Keep it, and its passphrase, on another machine.")
    return 0


def back_up(installation: Installation, target: Path, passphrase: str) -> tuple[int, int]:
    """Returns how many people and photos there are in it. Raises RecoError, OSError."""
    env = installation.env
    _refuse_without_key(installation)
    with ExitStack() as held:
        linked = held.enter_context(installation.photos.linked())
        database = linked.folder / DATABASE
        linked.prepare()
        with installation.nobody_changes():
            linked.take(entry.enrollment_id for entry in installation.records.journal())
            connection = held.enter_context(as_it_is(installation.engine, database))
            people = installation.records.count()
        if not database.exists():
            with opened_file(database) as engine:
                make_tables(engine, env)
                copy_rows(connection, env, engine, env)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        with writing_backup(target, passphrase, {"made": made, "version": VERSION}) as writer:
            writer.add(SETTINGS, installation.env_file)
            if keys := _encryption_keys():
                writer.add_bytes(KEYS, keys)
            if installation.audit_log.exists():
                writer.add(AUDIT_LOG, installation.audit_log)
            writer.add(DATABASE, database)
            photos = 0
            for name, path in linked.files():
                writer.add(f"{PHOTOS}/{name}", path)
                photos += 1
        return people, photos


def _refuse_without_key(installation: Installation) -> None:
    """Raises CannotDecrypt where what is stored is encrypted by a key that is not at hand, and so would not be saved."""
    with reading(installation.engine) as connection:
        row = connection.execute(select(templates).limit(1)).mappings().first()
    if row:
        installation.keyring.open(row["vector"], "template", row["person_id"], row["photo_id"], row["model"])


def _encryption_keys() -> bytes:
    path = os.environ.get(KEY_FILE)
    return Path(path).read_bytes() if path else os.environ.get(KEY, "").encode()


if __name__ == "__main__":
    sys.exit(main())
