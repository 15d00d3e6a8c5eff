"""How many bytes of uploads a gateway has in memory at a time, over all clients."""

import threading
from collections.abc import Iterable, Iterator

from services.common.errors import RecoError


class NoRoom(RecoError):
    """Others are uploading too much just now; trying again is right."""

    status = "UNAVAILABLE"
    reason = "UPLOADS_FULL"


class UploadMemory:
    """So many bytes for the bodies of all uploads under way. Safe to use from several threads."""

    def __init__(self, size: int):
        self._left = size
        self._lock = threading.Lock()

    def place(self) -> "Place":
        """For one upload; a context manager that gives back what it has taken."""
        return Place(self)

    def take(self, size: int) -> None:
        """Raises NoRoom."""
        with self._lock:
            if size > self._left:
                raise NoRoom("too much is being uploaded at once")
            self._left -= size

    def give_back(self, size: int) -> None:
        """What was taken."""
        with self._lock:
            self._left += size


class Place:
    """What one upload has taken of the room."""

    def __init__(self, room: UploadMemory):
        self._room = room
        self._taken = 0

    def hold(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Passes a body's pieces on; raises NoRoom, and ends, once there is none for them."""
        for piece in pieces:
            self._room.take(len(piece))
            self._taken += len(piece)
            yield piece

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self._taken)
