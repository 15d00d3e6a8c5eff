"""On which day each person was last enrolled, verified or found: what retention goes by (retention.py)."""

import threading
import time
from collections.abc import Callable, Collection

from services.common.errors import RecoError
from services.gateway.storage.types import Workspace

SECONDS_A_DAY = 86400


class LastUses:
    """Notes who is used, and writes it down, of each person once a day. Safe to use from several threads.

    Verifications do not wait for the database: whom they recognise is kept in memory until `write`, and lost if the process
    dies before. Enrollments wait, since nobody may be erased who has just been enrolled again.
    """

    def __init__(self, enabled: bool, clock: Callable[[], float] = time.time):
        """
        Args:
            enabled: whether anything is noted at all.
            clock: seconds since 1970.
        """
        self.enabled = enabled
        self._clock = clock
        self._lock = threading.Lock()
        self._day = 0
        self._noted: set[str] = set()
        self._unwritten: set[str] = set()

    @property
    def today(self) -> int:
        """Days since 1970."""
        return int(self._clock() // SECONDS_A_DAY)

    def recognised(self, person_ids: Collection[str]) -> None:
        """These people, who exist, were used now."""
        if not self.enabled:
            return
        with self._lock:
            if self._day != self.today:
                self._day, self._noted = self.today, set()
            self._unwritten |= set(person_ids) - self._noted
            self._noted |= set(person_ids)

    def enrolled(self, workspace: Workspace, person_id: str) -> None:
        """So was somebody who is about to be enrolled; raises DatabaseUnavailable or DatabaseRefused."""
        if self.enabled:
            workspace.records.use([person_id], self.today)

    def write(self, workspace: Workspace) -> None:
        """Writes down who was recognised; raises DatabaseUnavailable or DatabaseRefused, and then it can be tried again."""
        with self._lock:
            self._unwritten, unwritten = set(), self._unwritten
        if not unwritten:
            return
        try:
            workspace.records.use(sorted(unwritten), self.today)
        except RecoError:
            with self._lock:
                self._unwritten |= unwritten
            raise
