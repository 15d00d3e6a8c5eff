"""Takes in the bodies of uploads, however slowly they come: on disk, so that waiting costs next to nothing."""

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from services.common import call
from services.common.errors import Overloaded, RecoError
from services.common.workers import Workers
from services.gateway.errors import StorageRefused

Result = TypeVar("Result")
Item = TypeVar("Item")

#: Bytes of a body that are kept in memory; what is more goes to a file without a name, of which a kill leaves nothing.
MEMORY = 256 << 10

#: Bytes that are read of that file at once.
PIECE = 1 << 20


class BodyTooSlow(RecoError):
    """The client sends nothing, or next to nothing."""

    status = "DEADLINE_EXCEEDED"
    reason = "BODY_TOO_SLOW"


class ClientGone(RecoError):
    """The client went away before all of its request had come."""

    status = "CANCELLED"
    reason = "CLIENT_GONE"


class TooManyUploads(RecoError):
    """Too many uploads at once; trying again later is right."""

    status = "UNAVAILABLE"
    reason = "OVERLOADED"


@dataclass(frozen=True)
class UploadBounds:
    """What uploads may take.

    Attributes:
        pause: seconds within which `progress` bytes must come, or the end. 2 KB/s: a slow phone line has thrice that.
        progress: bytes.
        disk: bytes of all bodies that are under way together.
        working, waiting: uploads that are worked on at once, each in memory by then, and that may wait for it.
    """

    pause: float = 20.0
    progress: int = 40_000
    disk: int = 4 << 30
    working: int = 8
    waiting: int = 64


class Receiver:
    """All uploads under way; safe to use from several threads."""

    def __init__(self, bounds: UploadBounds | None = None):
        self._bounds = bounds or UploadBounds()
        self._workers = Workers(self._bounds.working, self._bounds.waiting)
        self._lock = threading.Lock()
        self._on_disk = 0

    def in_time(self, items: Iterator[Item], size: Callable[[Item], int]) -> Iterator[Item]:
        """Passes the pieces of a body on, and raises what they raise.

        Args:
            size: bytes of the body in a piece.

        Raises:
            BodyTooSlow: they come slower than the bounds allow.
        """
        coming: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(items, coming), name="body", daemon=True).start()
        missing, until = self._bounds.progress, time.monotonic() + self._bounds.pause
        while True:
            try:
                item = coming.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise BodyTooSlow("the request did not arrive in time") from None
            if isinstance(item, _End):
                if item.error:
                    raise item.error
                return
            missing -= size(item)
            if missing <= 0:
                missing, until = self._bounds.progress, time.monotonic() + self._bounds.pause
            yield item

    @contextmanager
    def whole(self, pieces: Iterator[bytes], folder: Path) -> Iterator[Iterator[bytes]]:
        """A body, once all of it is there; the time for the request counts from then on. What is on disk of it meanwhile is
        encrypted by a key of its own, which is in memory alone.

        Raises:
            TooManyUploads: the bodies that are under way take all the disk they may.
            StorageRefused: `folder` cannot be written to.
        """
        taken = 0
        cipher = Cipher(AES(os.urandom(32)), CTR(bytes(16)))
        encrypt, decrypt = cipher.encryptor().update, cipher.decryptor().update
        try:
            with tempfile.SpooledTemporaryFile(MEMORY, dir=str(folder)) as file:
                for piece in pieces:
                    self._take(len(piece))
                    taken += len(piece)
                    _write(file, encrypt(piece))
                file.seek(0)
                call.renew()
                yield iter(lambda: decrypt(file.read(PIECE)), b"")
        finally:
            self._take(-taken)

    def work(self, function: Callable[..., Result], *args: object) -> Result:
        """What the function returns or raises, when it is its turn.

        Raises:
            TooManyUploads: too many others wait.
            DeadlineExceeded: its turn does not come in time.
        """
        try:
            return self._workers.run(function, *args)
        except Overloaded as err:
            raise TooManyUploads(str(err)) from err

    def _take(self, count: int) -> None:
        with self._lock:
            if self._on_disk + max(count, 0) > self._bounds.disk:
                raise TooManyUploads("too many uploads are under way")
            self._on_disk += count


@dataclass(frozen=True)
class _End:
    """No more pieces come, or none because of an error."""

    error: BaseException | None = None


def _read(items: Iterator[Item], coming: "queue.SimpleQueue[Item | _End]") -> None:
    try:
        for item in items:
            coming.put(item)
        coming.put(_End())
    except BaseException as err:  # raised where the pieces are used
        coming.put(_End(err))


def _write(file: "tempfile.SpooledTemporaryFile[bytes]", piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as err:
        raise StorageRefused(f"the upload could not be stored: {err.strerror}") from err
