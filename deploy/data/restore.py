"""`make restore`: puts a backup where nobody is enrolled yet, and checks it there.

The database may be of another kind than the one that was saved, and DB_PATH elsewhere. Killed at any moment, it can be
run again. Running services may stay: they answer by what is restored as soon as it is.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from dotenv import dotenv_values

from deploy.data.agreement import check, show
from deploy.data.archive import BackupDamaged, Reader, reading_backup
from deploy.data.backup import AUDIT_LOG, DATABASE, KEYS, PHOTOS, SETTINGS
from deploy.data.database import NotEmpty, copy_rows, make_tables, opened_file
from deploy.data.installation import ENV_FILE, Installation
from deploy.data.passphrase import read_passphrase
from services.common.database import Database
from services.common.encryption import KEY, KEY_FILE, parse_keys
from services.common.env import EnvFile
from services.common.errors import RecoError
from services.common.private import FOLDER_MODE, keep_files_private, replace_private
from services.gateway.env import Env
from services.gateway.storage.records import SqlRecords

#: A folder in DB_PATH, and in it a file from when photos are moved out of it.
RESTORING, MOVING = ".restoring", "moving"

#: Where keys go that the environment does not name.
RESTORED_KEYS = Path("var/encryption.keys")

NAMES = ("SQL_TABLE", "ID_COL", "NAME_COL", "PATH_COL")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    keep_files_private()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("backup", type=Path)
    parser.add_argument("--env-file", type=Path, default=ENV_FILE, help="made of the backup's if there is none")
    parser.add_argument("--passphrase-file", type=Path, help="asked for if not given")
    options = parser.parse_args(arguments)
    passphrase = read_passphrase(options.passphrase_file, new=False)
    try:
        with reading_backup(options.backup, passphrase) as reader:
            return restore(reader, options.env_file)
    except (BackupDamaged, RecoError, OSError) as err:
        print(f"Nothing was restored: {err}", file=sys.stderr)
        return 1


def restore(reader: Reader, env_file: Path) -> int:
    """Says what it does; returns the exit status. Raises BackupDamaged, RecoError, OSError."""
    files = reader.files()
    head: dict[str, bytes] = {}
    for path, file in files:
        if path.as_posix() == DATABASE:
            break
        head[path.as_posix()] = file.read()
    else:
        raise BackupDamaged("the backup has no database")
    if SETTINGS not in head:
        raise BackupDamaged("the backup has no settings")
    with _settings(head[SETTINGS], env_file):
        _refuse_people(env_file)
        _keys(_parsed(head.get(KEYS, b"")))
        installation = Installation(env_file)
        _restore_people(installation, files, file, head[SETTINGS])
    _audit_log(installation, head.get(AUDIT_LOG, b""))
    print(f"restored the backup of {ascii(reader.about.get('made'))}")
    findings = check(installation)
    show(findings, installation)
    return 1 if findings else 0


def _restore_people(
    installation: Installation, files: Iterator[tuple[PurePosixPath, IO[bytes]]], database: IO[bytes], settings: bytes
) -> None:
    """`files`: those behind the database."""
    with _restoring(installation) as folder:
        with (folder / DATABASE).open("wb") as target:
            shutil.copyfileobj(database, target)
        (folder / PHOTOS).mkdir(FOLDER_MODE)
        for path, file in files:
            if path.parts[0] != PHOTOS or len(path.parts) < 3:
                raise BackupDamaged(f"the backup holds {path}, which is nothing of RECO's")
            (folder / path).parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            with (folder / path).open("wb") as target:
                shutil.copyfileobj(file, target)
        theirs = _env_of(installation, settings, folder)
        with opened_file(folder / DATABASE) as engine:
            make_tables(engine, theirs)  # brings them to the present version
        os.sync()
        with installation.nobody_changes():
            _refuse_people(installation.env_file)
            (folder / MOVING).touch()  # from here on there are photos: who is killed goes on where this is found
            installation.photos.take_in(folder / PHOTOS, go_on=installation.locks.check)
            installation.locks.check()
            with opened_file(folder / DATABASE) as engine, engine.connect() as source:
                copy_rows(source, theirs, installation.engine, installation.env)


def _refuse_people(env_file: Path) -> None:
    env = Env(**EnvFile(env_file).read())
    if SqlRecords(Database(env_file.absolute().parent).engine(env.sql), env).count():
        raise NotEmpty(f"there are people already: {env_file} names a database that is not empty")


@contextmanager
def _restoring(installation: Installation) -> Iterator[Path]:
    """A folder to unpack into, in DB_PATH. Where photos were moved and the block failed, it stays, for the next time."""
    folder = installation.env.db_path / RESTORING
    marker = folder / MOVING
    there = [name for name in installation.photos.folders_ending("") if not name.startswith(".")]
    if there and not marker.exists():
        raise NotEmpty(f"{installation.photos.path_of(there[0])} is there already, and there must be no photos")
    folder.mkdir(FOLDER_MODE, exist_ok=True)
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left != marker:
            left.unlink()
    try:
        yield folder
    except BaseException:
        if not marker.exists():
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _env_of(installation: Installation, settings: bytes, folder: Path) -> Env:
    """The installation's settings, with the backup's names of tables and columns."""
    (folder / ".env").write_bytes(settings)
    return replace(installation.env, **EnvFile(folder / ".env").pick(*NAMES))


@contextmanager
def _settings(backed_up: bytes, env_file: Path) -> Iterator[None]:
    """With the backup's `.env` where there is none, unless the block fails; one that is there stays as it is."""
    if not env_file.exists():
        env_file.write_bytes(backed_up)
        try:
            yield
        except BaseException:
            env_file.unlink()
            raise
        print(f"{env_file} is that of the backup")
        return
    yield
    copy = env_file.with_name(f"{env_file.name}.restored")
    copy.write_bytes(backed_up)
    ours, theirs = dotenv_values(env_file), dotenv_values(copy)
    other = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    if other:
        print(f"{env_file} stays as it is; the backup's is {copy}, and differs in {', '.join(other)}")
    else:
        copy.unlink()


def _parsed(keys: bytes) -> list[str]:
    """Keys as the backup has them."""
    try:
        texts = keys.decode("ascii").replace(",", " ").split()
        parse_keys(" ".join(texts))
    except ValueError as err:
        raise BackupDamaged("the backup's keys are none") from err
    return texts


def _keys(backed_up: Sequence[str]) -> None:
    """What is encrypted stays so, and needs the keys that it was encrypted by."""
    path, text = os.environ.get(KEY_FILE), os.environ.get(KEY, "")
    if not backed_up:
        return
    if not path and not text:
        path = os.environ[KEY_FILE] = str(RESTORED_KEYS)
        print(f"What is stored is encrypted: set {KEY_FILE}={path} from now on, for it holds the keys of the backup")
    present = Path(path).read_text() if path and Path(path).exists() else text
    lacking = [key for key in backed_up if not set(parse_keys(key)) <= set(parse_keys(present))]
    if lacking and not path:
        raise SystemExit(f"{KEY} lacks keys of the backup; name a file instead, by {KEY_FILE}: they are added to it")
    if lacking:
        Path(str(path)).parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        replace_private(Path(str(path)), "\n".join([*present.split(), *lacking]) + "\n")


def _audit_log(installation: Installation, backed_up: bytes) -> None:
    path = installation.audit_log
    if not backed_up:
        return
    if path.exists():
        path = path.with_name(f"{path.name}.restored")
        print(f"{installation.audit_log} goes on as it is; the backup's is {path}")
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    path.write_bytes(backed_up)


if __name__ == "__main__":
    sys.exit(main())
