"""The room that uploads have left: of their quota, and on their disk."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from services.gateway.errors import StorageFull, StorageRefused
from services.gateway.storage.limits import UploadLimits


class Room:
    """Counts what uploads take: measured now and then, and added to in between. Safe to use from several threads.

    Gateways that share them learn of each other's when they measure.
    """

    def __init__(self, limits: UploadLimits, used: Callable[[], int], free: Callable[[], int] | None = None):
        """
        Args:
            used: measures how many bytes all uploads take; raises OSError.
            free: tells how many their disk has left; None where that is nobody's to know.
        """
        self._limits = limits
        self._measure = used
        self._free = free
        self._used: int | None = None
        self._lock = threading.Lock()

    def measure(self) -> None:
        """Counts anew."""
        if self._limits.quota:
            used = self._measure()
            with self._lock:
                self._used = used

    def take(self, size: int) -> None:
        """Makes sure of room for so many bytes.

        Raises:
            StorageFull: there is none.
            StorageRefused: it cannot be measured.
        """
        try:
            free = self._free() if self._free and self._limits.reserve else None
            if self._used is None:
                self.measure()
        except OSError as err:
            raise StorageRefused(f"the upload could not be stored: {err.strerror}") from err
        if free is not None and free - size < self._limits.reserve:
            raise StorageFull("the upload could not be stored: the disk is nearly full (RECO_DISK_RESERVE stays free)")
        with self._lock:
            if self._limits.quota and (self._used or 0) + size > self._limits.quota:
                raise StorageFull("the upload could not be stored: uploads fill what they may (RECO_UPLOAD_QUOTA)")
            self._used = (self._used or 0) + size


def room_in(folder: Path, limits: UploadLimits) -> Room:
    """The room of uploads in a folder."""
    return Room(limits, lambda: _size(folder), lambda: shutil.disk_usage(folder).free)


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, at any depth; those that vanish meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total
