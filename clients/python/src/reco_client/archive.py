"""Archives of people: pages of an export in one file, which a passphrase may close.

A tar file. `archive.json` says what it is; a page is `000001.json` and so on, as `GET /v1/people:export` answers it;
`end.json` counts them, so that one that was cut off is noticed. Closed by a passphrase, each of them but the first is
encrypted by age (age-encryption.org) and named `….age`, and `key.age` is the key, encrypted by the passphrase: `tar` and
`age` read it without this module. Needs pyrage (`pip install 'reco-client[cli]'`).
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyrage

#: Of this way of writing them.
FORMAT = 1

#: Bytes of a member that are read: a page has a few megabytes, unless somebody made it who means harm.
MAX_MEMBER = 64 << 20


class ArchiveWriter:
    """Writes an archive; a context manager. The file takes its name when it is whole, and only its owner may read it."""

    def __init__(self, path: Path, passphrase: str = ""):
        """
        Args:
            path: of the file; one that is there is replaced.
            passphrase: closes it; in plain without one.

        Raises:
            OSError: it cannot be written.
        """
        self.people = 0
        self._path, self._unfinished = path, path.with_name(f".{path.name}.part")
        self._pages = 0
        self._ids: set[str] = set()
        self._unfinished.unlink(missing_ok=True)
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._tar = tarfile.open(fileobj=os.fdopen(descriptor, "wb"), mode="w")  # noqa: SIM115
        self._recipient: pyrage.x25519.Recipient | None = None
        self._add("archive.json", json.dumps({"format": FORMAT, "encrypted": bool(passphrase)}).encode())
        if passphrase:
            identity = pyrage.x25519.Identity.generate()
            self._add("key.age", pyrage.passphrase.encrypt(f"{identity}\n".encode(), passphrase))
            self._recipient = identity.to_public()

    def __enter__(self) -> "ArchiveWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._add_closed("end.json", {"people": self.people, "pages": self._pages})
        self._tar.close()
        if self._tar.fileobj:
            self._tar.fileobj.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)

    def add(self, people: Sequence[Any]) -> None:
        """Adds a page of people, as they were exported."""
        self._pages += 1
        self._ids.update(one["person"]["person_id"] for one in people)
        self.people = len(self._ids)
        self._add_closed(f"{self._pages:06}.json", {"people": people})

    def _add_closed(self, name: str, value: object) -> None:
        data = json.dumps(value, ensure_ascii=False).encode()
        if self._recipient is None:
            self._add(name, data)
        else:
            self._add(f"{name}.age", pyrage.encrypt(data, [self._recipient]))

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))


class ArchiveReader:
    """Reads an archive; a context manager.

    Every method raises ValueError where it is none, is damaged, or the passphrase does not fit.
    """

    def __init__(self, path: Path, passphrase: str = ""):
        """`passphrase`: of one that is closed."""
        self._file = path.open("rb")
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115
            about = json.loads(self._next("archive.json"))
            if about["format"] != FORMAT:
                raise ValueError(f"{path} is of a later version: format {about['format']}")
            self._identity = self._unlock(passphrase) if about["encrypted"] else None
        except (tarfile.TarError, KeyError, TypeError, json.JSONDecodeError):
            self._file.close()
            raise ValueError(f"{path} is no archive of people") from None
        except ValueError:
            self._file.close()
            raise

    def __enter__(self) -> "ArchiveReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._file.close()

    def pages(self) -> Iterator[list[Any]]:
        """The people of each page, in order; raises ValueError at the end where pages are missing."""
        number, ids = 0, set[str]()
        try:
            while member := self._tar.next():
                value = json.loads(self._open(self._read(member)))
                if member.name.startswith("end.json"):
                    if (value["pages"], value["people"]) != (number, len(ids)):
                        break
                    return
                number += 1
                if not member.name.startswith(f"{number:06}.json"):
                    break
                ids.update(one["person"]["person_id"] for one in value["people"])
                yield value["people"]
        except (tarfile.TarError, pyrage.DecryptError, KeyError, TypeError, json.JSONDecodeError):
            pass
        raise ValueError("the archive is damaged, or was cut off")

    def _unlock(self, passphrase: str) -> pyrage.x25519.Identity:
        if not passphrase:
            raise ValueError("the archive is closed by a passphrase")
        try:
            return pyrage.x25519.Identity.from_str(
                pyrage.passphrase.decrypt(self._next("key.age"), passphrase).decode().strip()
            )
        except pyrage.DecryptError:
            raise ValueError("the passphrase does not fit") from None

    def _next(self, name: str) -> bytes:
        member = self._tar.next()
        if member is None or member.name != name:
            raise KeyError(name)
        return self._read(member)

    def _read(self, member: tarfile.TarInfo) -> bytes:
        file = self._tar.extractfile(member)
        if file is None or member.size > MAX_MEMBER:
            raise KeyError(member.name)
        return file.read()

    def _open(self, data: bytes) -> bytes:
        return pyrage.decrypt(data, [self._identity]) if self._identity else data
