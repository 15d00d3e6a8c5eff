"""Downloading one file over http(s) or from Google Drive, going on where an earlier try was cut off."""

import http.client
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 18
#: Seconds without a single byte after which a connection counts as dead.
SOCKET_TIMEOUT = 20.0
#: Times a transfer that is cut off while it runs is taken up again before the caller is told.
TRIES = 3
DRIVE_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")


class SourceFailed(Exception):
    """A place did not give the file; the text says why, for a person to read."""


class _CutOff(SourceFailed):
    """The transfer ended early; what came is kept, and another try may go on from there."""


def download(url: str, part: Path, name: str) -> Path:
    """Fetches `url` into `part` and returns it once it is whole.

    What an earlier try left in `part` is continued if the server confirms (If-Range) that its file is the same one.

    Args:
        url: http, https, or a Google Drive address.
        part: the temporary file; kept when the connection is cut, removed when the disk is full.
        name: what to call the file in the progress lines on stderr.

    Raises:
        SourceFailed, OSError, http.client.HTTPException, ValueError: it could not be had; part is no whole file.
    """
    address = urllib.parse.urlsplit(url)
    if address.scheme not in ("http", "https"):
        raise SourceFailed("only http and https addresses are fetched")
    if address.hostname in DRIVE_HOSTS:
        return _from_drive(url, part)
    for left in reversed(range(TRIES)):
        try:
            return _transfer(url, part, name)
        except _CutOff:
            if not left:
                raise
    raise AssertionError("unreachable")


def _transfer(url: str, part: Path, name: str) -> Path:
    offset, validator = _resumable(part)
    headers = {"User-Agent": "reco", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SOCKET_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise SourceFailed(f"the server answered {error.code} {error.reason}") from error
        _forget(part)
        raise _CutOff("the server refused to continue the download") from error
    except urllib.error.URLError as error:
        raise SourceFailed(str(error.reason)) from error
    with response:
        offset = _starting_point(response, part, offset)
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        _make_room(part, offset, total)
        _receive(response, part, _Progress(name, offset, total))
    _validator_file(part).unlink(missing_ok=True)
    return part


def _resumable(part: Path) -> tuple[int, str]:
    """How many bytes an earlier try left, and the server's mark of the file they belong to ("" to start anew)."""
    with suppress(OSError):
        return part.stat().st_size, _validator_file(part).read_text()
    return 0, ""


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)


def _starting_point(response: http.client.HTTPResponse, part: Path, offset: int) -> int:
    """Where in the file the body begins: `offset` where the server continues, 0 (and an empty part) where not."""
    if response.headers.get_content_type() == "text/html":
        raise SourceFailed("the server answered with a web page, not with a file")
    if response.status == http.client.PARTIAL_CONTENT:
        if not re.match(rf"bytes {offset}-", response.headers.get("Content-Range", "")):
            _forget(part)
            raise _CutOff("the server continued at a wrong place")
        return offset
    _forget(part)
    etag = response.headers.get("ETag", "")
    # A weak mark may not be used with If-Range (RFC 9110, 13.1.5).
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    if validator:
        _validator_file(part).write_text(validator)
    return 0


def _make_room(part: Path, offset: int, total: int | None) -> None:
    """Refuses what would fill the disk, before it does: others need it too."""
    missing = (total or 0) - offset
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise SourceFailed(f"{missing} bytes are missing, the disk has {free} free")


def _receive(response: http.client.HTTPResponse, part: Path, progress: "_Progress") -> None:
    try:
        with part.open("ab") as file:
            while data := _read(response):
                file.write(data)
                progress.advance(len(data))
    except OSError:
        _forget(part)  # a full disk, as a rule: do not keep it full
        raise
    if progress.total is not None and progress.done != progress.total:
        raise _CutOff(f"the connection ended after {progress.done} of {progress.total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(f"the connection broke: {error or type(error).__name__}") from error


class _Progress:
    """Tells on stderr how far a download is: in place on a terminal, a line every 10 % in a log."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self.done, self.total = done, total
        self._name = name
        self._told = 100 * done // total if total else 0

    def advance(self, count: int) -> None:
        self.done += count
        if not self.total:
            return
        percent = 100 * self.done // self.total
        terminal = sys.stderr.isatty()
        if percent < self._told + (1 if terminal else 10) and self.done != self.total:
            return
        self._told = percent if terminal else percent // 10 * 10
        line = f"{self._name}: {percent} % of {self.total / 1e6:.1f} MB"
        end = "\n" if not terminal or self.done == self.total else ""
        print(("\r" if terminal else "") + line, end=end, file=sys.stderr, flush=True)


def _from_drive(url: str, part: Path) -> Path:
    """Google asks before it gives large files; the package gdown knows how to answer."""
    try:
        import gdown
    except ImportError as error:
        raise SourceFailed("Google Drive needs the package gdown (pip install 'gdown>=6'), or a browser") from error
    part.unlink(missing_ok=True)
    try:
        done = gdown.download(url, str(part), quiet=not sys.stderr.isatty(), timeout=SOCKET_TIMEOUT)
    except gdown.exceptions.DownloadError as error:
        raise SourceFailed(f"Google Drive: {error}") from error
    if not done or not part.is_file():
        raise SourceFailed("Google Drive gave no file")
    return part
