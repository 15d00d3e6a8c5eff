"""Backups: one file, closed by a passphrase.

A tar of three members: `backup.json` says what it is, `key.age` is a key, encrypted by the passphrase, and `files.tar.age`
is a tar of the files, encrypted by the key. `tar` and `age` (age-encryption.org) read it without this module:

    tar xf FILE && age -d -o key key.age && age -d -i key files.tar.age | tar x
"""

import io
import json
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyrage

#: Of this way of writing them.
FORMAT = 1

#: Bytes of the members that come before the files.
MAX_HEAD = 1 << 20

#: The last file in a backup: one without it was cut off.
END = "end"


class BackupDamaged(Exception):
    """The file is no backup, was cut off or changed, or the passphrase does not fit."""


class Writer:
    """Adds files to a backup."""

    def __init__(self, tar: tarfile.TarFile):
        self._tar = tar

    def add(self, name: str, path: Path) -> None:
        """Adds a file, as it is now."""
        with path.open("rb") as file:
            member = tarfile.TarInfo(name)
            stat = os.fstat(file.fileno())
            member.size, member.mtime, member.mode = stat.st_size, int(stat.st_mtime), 0o600
            self._tar.addfile(member, file)

    def add_bytes(self, name: str, data: bytes) -> None:
        """Adds a file that is not on the disk."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))


@contextmanager
def writing_backup(path: Path, passphrase: str, about: dict[str, Any]) -> Iterator[Writer]:
    """Writes a backup: for its owner alone, and there under its name once it is whole.

    Args:
        about: is written in plain.

    Raises:
        OSError: it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)  # for its owner alone
    unfinished = Path(name)
    identity = pyrage.x25519.Identity.generate()
    try:
        with open(descriptor, "w+b") as file:
            outer = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
            head = Writer(outer)
            head.add_bytes("backup.json", json.dumps({"format": FORMAT, **about}).encode())
            head.add_bytes("key.age", pyrage.passphrase.encrypt(f"{identity}\n".encode(), passphrase))
            with (
                _last_member(outer, file, "files.tar.age"),
                _encrypting(file, identity.to_public()) as sink,
                tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT) as files,
            ):
                yield (writer := Writer(files))
                writer.add_bytes(END, b"")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _last_member(outer: tarfile.TarFile, file: IO[bytes], name: str) -> Iterator[None]:
    """A member whose size is known only when it has been written."""
    member = tarfile.TarInfo(name)
    member.mode = 0o600
    begin = file.tell()
    outer.addfile(member)
    yield
    member.size = file.tell() - begin - tarfile.BLOCKSIZE
    file.write(bytes(-member.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))
    file.seek(begin)
    file.write(member.tobuf(tarfile.GNU_FORMAT))


@contextmanager
def _encrypting(target: IO[bytes], recipient: pyrage.x25519.Recipient) -> Iterator[IO[bytes]]:
    """A file to write to; what is written is encrypted in a thread."""
    read_end, write_end = os.pipe()
    source = open(read_end, "rb")  # noqa: SIM115
    with _beside(lambda: pyrage.encrypt_io(source, target, [recipient]), source), open(write_end, "wb") as sink:
        yield sink


@contextmanager
def _decrypting(source: IO[bytes], identity: pyrage.x25519.Identity) -> Iterator[IO[bytes]]:
    """A file to read from; it is decrypted in a thread. It ends early where the source is damaged."""
    read_end, write_end = os.pipe()
    sink = open(write_end, "wb")  # noqa: SIM115
    with _beside(lambda: pyrage.decrypt_io(source, sink, [identity]), sink), open(read_end, "rb") as plain:
        yield plain


@contextmanager
def _beside(work: Callable[[], None], end: IO[bytes]) -> Iterator[None]:
    """Does something in a thread during the block, and closes its end of a pipe; raises OSError where it failed."""
    failures = list[Exception]()

    def run() -> None:
        try:
            with end:
                work()
        except Exception as err:  # told at the end of the block
            failures.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    except BrokenPipeError:
        pass  # the thread has failed, and closed its end
    finally:
        thread.join()
    if failures:
        raise OSError(f"{failures[0]}") from failures[0]


class Reader:
    """What a backup holds.

    Attributes:
        about: what its writer was told to say in plain.
    """

    def __init__(self, about: dict[str, Any], files: tarfile.TarFile):
        self.about = about
        self._files = files

    def files(self) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
        """Each file: its path, relative and without `..`, and its bytes, to be read before the next.

        Raises:
            BackupDamaged: at the end, or where something is wrong.
        """
        try:
            while member := self._files.next():
                if member.name == END:
                    while self._files.next():
                        pass
                    return
                path, data = PurePosixPath(member.name), self._files.extractfile(member)
                if data is None or not member.isreg() or path.is_absolute() or ".." in path.parts:
                    break
                yield path, data
        except (tarfile.TarError, EOFError):
            pass
        raise BackupDamaged("the backup is damaged, or was cut off")


@contextmanager
def reading_backup(path: Path, passphrase: str) -> Iterator[Reader]:
    """Opens a backup.

    Raises:
        BackupDamaged: it is none, or of a later version, or the passphrase does not fit.
        OSError: it cannot be read.
    """
    with ExitStack() as opened:
        try:
            outer = opened.enter_context(tarfile.open(path, mode="r:"))
            about = json.loads(_head(outer, "backup.json"))
            if about["format"] != FORMAT:
                raise BackupDamaged(f"{path} is of a later version: format {about['format']}")
            key = pyrage.passphrase.decrypt(_head(outer, "key.age"), passphrase)
            identity = pyrage.x25519.Identity.from_str(key.decode().strip())
            source = outer.extractfile(outer.next() or tarfile.TarInfo())
            if source is None:
                raise KeyError("files.tar.age")
            plain = opened.enter_context(_decrypting(source, identity))
            files = opened.enter_context(tarfile.open(fileobj=plain, mode="r|"))
        except pyrage.DecryptError:
            raise BackupDamaged("the passphrase does not fit") from None
        except (tarfile.TarError, KeyError, TypeError, ValueError, RecursionError, pyrage.IdentityError):
            raise BackupDamaged(f"{path} is no backup, or was cut off") from None
        try:
            yield Reader(about, files)
        except tarfile.TarError as err:  # of a file in it that is being read
            raise BackupDamaged("the backup is damaged, or was cut off") from err


def _head(outer: tarfile.TarFile, name: str) -> bytes:
    member = outer.next()
    file = outer.extractfile(member) if member and member.name == name and member.size <= MAX_HEAD else None
    if file is None:
        raise KeyError(name)
    return file.read()
