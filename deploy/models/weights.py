"""Weight files: found in a folder, on a mirror or on the web; checked, moved into place, and kept.

Nothing is loaded that was not checked: a file takes its final name only once it is whole and its SHA-256 is right.
"""

import fcntl
import glob
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.models.download import SourceFailed, download
from services.common.errors import ModelUnavailable

#: A file without a known hash that changed less than this ago may still be being copied: its hash is not recorded yet.
SETTLED_SECONDS = 10.0


@dataclass(frozen=True)
class WeightFile:
    """A file of weights, as data.

    Attributes:
        name: file name, without a folder.
        url: http(s) address, a Google Drive one (needs the package gdown), or file:///… of a local file.
        sha256: 64 hexadecimal digits; None where nobody knows them yet: then they are recorded when the file is first
            seen, in `<name>.sha256` beside it, and hold from then on.
        licence: SPDX identifier or a few words.
        commercial_use: whether the licence of weights and training data lets one use them commercially.
        source: who made it, and where that is said.
    """

    name: str
    url: str
    sha256: str | None
    licence: str
    commercial_use: bool
    source: str

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or "/" in self.name or "\0" in self.name:
            raise ValueError(f"{self.name!r} is no file name")


@dataclass(frozen=True)
class _Failure:
    """What was tried in vain: when, what is said about it, and what the mirror folder held then."""

    at: float
    message: str
    mirrored: tuple


class WeightStore:
    """The weight files in one folder. Safe for several threads, and for several processes on one folder."""

    def __init__(self, folder: Path, mirror: str | None = None, retry_after: float = 30.0) -> None:
        """
        Args:
            folder: where files are kept; made at the first download.
            mirror: RECO_MIRROR, asked before the web: a folder (searched by file name, subfolders too; what is found
                is copied), or an http(s) prefix to which "/<name>" is added.
            retry_after: seconds for which a failed download is not tried again.
        """
        self._folder = Path(folder)
        self._mirror = mirror or ""
        self._retry_after = retry_after
        self._failures: dict[WeightFile, _Failure] = {}
        self._verdicts: dict[WeightFile, tuple[tuple, str | None]] = {}

    def get(self, weight: WeightFile) -> Path:
        """The file's path in the folder, fetched there if it is not yet. Can take as long as a download takes.

        Raises:
            ModelUnavailable: no source has it, it is not what it should be, or it cannot be written. Said again
                without trying for `retry_after` seconds, unless the file appears in the folder or the mirror folder.
        """
        try:
            path = self._in_folder(weight)
            if path is None:
                self._recall_failure(weight)
                path = self._fetch_alone(weight)
        except OSError as error:
            raise ModelUnavailable(self._explain(weight, [str(error)])) from error
        self._failures.pop(weight, None)
        return path

    def find(self, weight: WeightFile) -> Path | None:
        """The file's path if it is in the folder, None if not; nothing is fetched.

        Raises:
            ModelUnavailable: it is there and not what it should be, or cannot be read.
        """
        try:
            return self._in_folder(weight)
        except OSError as error:
            raise ModelUnavailable(f"{self._folder / weight.name} cannot be read: {error}") from error

    def _in_folder(self, weight: WeightFile) -> Path | None:
        path = self._folder / weight.name
        stamp = _stamp(path)
        if stamp is None:
            return None
        known, complaint = self._verdicts.get(weight, (None, None))
        if known != stamp:
            complaint = self._judge(weight, path)
            self._verdicts[weight] = (stamp, complaint)
        if complaint:
            raise ModelUnavailable(f"{path}: {complaint}. Remove it to have it fetched again from {weight.url}.")
        return path

    def _judge(self, weight: WeightFile, path: Path) -> str | None:
        """What is wrong with the file, None if nothing is."""
        actual = _sha256(path)
        expected = self._expected(weight)
        if expected is None and time.time() - path.stat().st_mtime > SETTLED_SECONDS:
            with suppress(OSError):  # a read-only folder is no reason to refuse its file
                self._record(weight, actual)
        return None if expected in (None, actual) else f"its SHA-256 is {actual}, not {expected}"

    def _expected(self, weight: WeightFile) -> str | None:
        if weight.sha256:
            return weight.sha256.lower()
        with suppress(FileNotFoundError):
            match = re.match(r"[0-9a-f]{64}\b", self._sidecar(weight).read_text("ascii", "replace").lower())
            return match[0] if match else None
        return None

    def _sidecar(self, weight: WeightFile) -> Path:
        return self._folder / f"{weight.name}.sha256"

    def _record(self, weight: WeightFile, sha256: str) -> None:
        temporary = self._folder / f".{weight.name}.{os.getpid()}.sha256"
        temporary.write_text(f"{sha256}  {weight.name}\n")
        temporary.replace(self._sidecar(weight))

    def _recall_failure(self, weight: WeightFile) -> None:
        failure = self._failures.get(weight)
        if failure is None or time.monotonic() - failure.at > self._retry_after:
            return
        if failure.mirrored == self._mirror_stamps(weight):
            raise ModelUnavailable(failure.message)

    def _fetch_alone(self, weight: WeightFile) -> Path:
        """Fetches under a lock that threads and processes share; whoever waited looks again first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._folder / f".{weight.name}.lock"):
            path = self._in_folder(weight)
            if path is not None:
                return path
            self._recall_failure(weight)
            return self._fetch(weight)

    def _fetch(self, weight: WeightFile) -> Path:
        complaints = []
        for source in self._sources(weight):
            try:
                return self._accept(weight, self._obtain(weight, source))
            except (SourceFailed, OSError, http.client.HTTPException, ValueError) as error:
                complaints.append(f"{source}: {error}")
        message = self._explain(weight, complaints)
        self._failures[weight] = _Failure(time.monotonic(), message, self._mirror_stamps(weight))
        raise ModelUnavailable(message)

    def _sources(self, weight: WeightFile) -> Iterator[Path | str]:
        if self._mirror.startswith(("http://", "https://")):
            yield f"{self._mirror.rstrip('/')}/{urllib.parse.quote(weight.name)}"
        yield from self._mirror_files(weight)
        if weight.url.startswith("file://"):
            yield Path(urllib.request.url2pathname(urllib.parse.urlsplit(weight.url).path))
        elif weight.url:
            yield weight.url

    def _mirror_files(self, weight: WeightFile) -> list[Path]:
        if not self._mirror or self._mirror.startswith(("http://", "https://")):
            return []
        found = Path(self._mirror).expanduser().rglob(glob.escape(weight.name))
        return sorted((path for path in found if path.is_file()), key=lambda path: (len(path.parts), path))

    def _mirror_stamps(self, weight: WeightFile) -> tuple:
        return tuple((path, _stamp(path)) for path in self._mirror_files(weight))

    def _obtain(self, weight: WeightFile, source: Path | str) -> Path:
        """Brings the source's bytes into a temporary file of the folder."""
        if isinstance(source, Path):
            temporary = self._folder / f".{weight.name}.copy"
            try:
                shutil.copyfile(source, temporary)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            return temporary
        # Named after the address as well, so that what one server began is never continued by another.
        tag = hashlib.sha256(source.encode()).hexdigest()[:8]
        return download(source, self._folder / f".{weight.name}.{tag}.part", weight.name)

    def _accept(self, weight: WeightFile, temporary: Path) -> Path:
        """Checks a whole temporary file and gives it its final name; one that is not right is deleted."""
        actual, expected = _sha256(temporary), self._expected(weight)
        if expected not in (None, actual):
            size = temporary.stat().st_size
            temporary.unlink()
            raise SourceFailed(f"its SHA-256 is {actual} ({size} bytes), not {expected}")
        if weight.sha256 is None and expected is None:
            self._record(weight, actual)
        _sync(temporary)
        path = temporary.replace(self._folder / weight.name)
        self._verdicts[weight] = (_stamp(path), None)
        return path

    def _explain(self, weight: WeightFile, complaints: list[str]) -> str:
        digest = f" (SHA-256 {weight.sha256})" if weight.sha256 else ""
        tried = "; ".join(complaints) or "no source is known"
        return (
            f"{weight.name} could not be had: {tried}. Put it by hand at {self._folder / weight.name}{digest}, "
            f"fetched from {weight.url or 'its maker'}, or set RECO_MIRROR to a folder (or an http prefix) that has it."
        )


def _stamp(path: Path) -> tuple | None:
    """What changes when a file does; None where there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Waits until the bytes are on disk: a rename that outlives a power cut must not name an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
