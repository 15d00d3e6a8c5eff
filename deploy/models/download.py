"""Fetching one weight file: over http(s), going on where an earlier try was cut off; from Google Drive; from PyPI."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Never

import gdown
import requests
from gdown.exceptions import DownloadError
from tqdm import tqdm
from urllib3.exceptions import HTTPError

CHUNK = 1 << 18
#: Seconds that connecting may take, and after which a connection without a single byte counts as dead.
TIMEOUT = 20.0
#: Times a transfer that is cut off while it runs is taken up again before the caller is told.
TRIES = 3
DRIVE_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")


class SourceFailed(Exception):
    """A place did not give the file; the text says why, for a person to read."""


class _CutOff(SourceFailed):
    """The transfer ended early; what came is kept, and another try may go on from there."""


def download(url: str, part: Path, name: str) -> None:
    """Fetches `url` into `part`.

    What an earlier try left in `part` is continued if the server confirms (If-Range) that its file is the same one.

    Args:
        url: http, https, or a Google Drive address.
        part: the temporary file; kept when the connection is cut, removed when the disk is full.
        name: what to call the file in the progress line on stderr.

    Raises:
        SourceFailed, OSError: it could not be had; part is no whole file.
    """
    try:
        address = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise SourceFailed(str(error)) from error
    if address.scheme not in ("http", "https"):
        raise SourceFailed("only http and https addresses are fetched")
    if address.hostname in DRIVE_HOSTS:
        _from_drive(url, part)
        return
    for left in reversed(range(TRIES)):
        try:
            _transfer(url, part, name)
            return
        except _CutOff:
            if not left:
                raise
        except requests.RequestException as error:
            raise SourceFailed(str(error)) from error


def _transfer(url: str, part: Path, name: str) -> None:
    offset, validator = _resumable(part)
    headers = {"User-Agent": "reco", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            _forget(part)
            raise _CutOff("the server refused to continue the download")
        if not response.ok:
            raise SourceFailed(f"the server answered {response.status_code} {response.reason}")
        offset = _starting_point(response, part, offset)
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else None
        _make_room(part, (total or 0) - offset)
        progress: tqdm[Never] = tqdm(
            desc=name, total=total, initial=offset, unit="B", unit_scale=True, mininterval=_progress_interval()
        )
        with progress:
            _receive(response, part, progress)
        if total is not None and part.stat().st_size != total:
            raise _CutOff(_ended(part, total))
    _validator_file(part).unlink(missing_ok=True)


def _progress_interval() -> float:
    """Seconds between two progress lines: a log wants fewer than a terminal."""
    return 0.1 if sys.stderr.isatty() else 10.0


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


def _starting_point(response: requests.Response, part: Path, offset: int) -> int:
    """Where in the file the body begins: `offset` where the server continues, 0 (and an empty part) where not."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise SourceFailed("the server answered with a web page, not with a file")
    if response.status_code == requests.codes.partial_content:
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


def _make_room(part: Path, missing: int) -> None:
    """Refuses what would fill the disk, before it does: others need it too."""
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise SourceFailed(f"{missing} bytes are missing, the disk has {free} free")


def _receive(response: requests.Response, part: Path, progress: "tqdm[Never]") -> None:
    try:
        with part.open("ab") as file:
            while data := response.raw.read1(CHUNK):
                file.write(data)
                progress.update(len(data))
    except HTTPError as error:
        raise _CutOff(_ended(part, progress.total)) from error
    except OSError:
        _forget(part)  # a full disk, as a rule: do not keep it full
        raise


def _ended(part: Path, total: float | None) -> str:
    return f"the connection ended after {part.stat().st_size} of {total or 'unknown'} bytes"


def _from_drive(url: str, part: Path) -> None:
    """Google asks before it gives large files; gdown knows how to answer."""
    part.unlink(missing_ok=True)
    try:
        done = gdown.download(url, str(part), quiet=not sys.stderr.isatty(), timeout=TIMEOUT)
    except DownloadError as error:
        raise SourceFailed(f"Google Drive: {error}") from error
    if not done or not part.is_file():
        raise SourceFailed("Google Drive gave no file")


def take_from_package(requirement: str, name: str, target: Path) -> None:
    """Takes one file out of a PyPI package, which is fetched by pip and not installed.

    Args:
        requirement: such as mtcnn==1.0.0.
        name: of the file, without its folders.

    Raises:
        SourceFailed, OSError: the package cannot be had, or has no such file.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*command, "--dest", folder, requirement], capture_output=True, text=True)
        archives = list(Path(folder).iterdir())
        if done.returncode or not archives:
            raise SourceFailed((done.stderr.strip() or "pip gave no package").splitlines()[-1])
        extract(archives[0], name, target)


def extract(archive: Path, name: str, target: Path) -> None:
    """Takes one file, by its name without folders, out of a .zip or .tar of any compression.

    Raises:
        SourceFailed: it holds none of that name.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            members = [member for member in wheel.namelist() if member.endswith(f"/{name}")]
            if members:
                target.write_bytes(wheel.read(members[0]))
                return
    else:
        with tarfile.open(archive) as source:
            for member in source:
                if member.isfile() and member.name.endswith(f"/{name}") and (file := source.extractfile(member)):
                    with target.open("wb") as copy:
                        shutil.copyfileobj(file, copy)
                    return
    raise SourceFailed(f"{archive.name} holds no {name!r}")
