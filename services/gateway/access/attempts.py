"""How often one ID may be claimed: so that nobody climbs towards a face by the distances that are answered."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from services.common.errors import RecoError

#: IDs that are remembered. An ID's count is whole again after a minute, so those of the last minute are enough, and no
#: gateway verifies as many in a minute.
MAX_IDS = 65_536


class TooManyAttempts(RecoError):
    """The ID was claimed too often; `retry_after` says when to try again."""

    status = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_ATTEMPTS"

    def __init__(self, retry_after: int):
        super().__init__(f"too many verifications of this ID; try again in {retry_after} s")
        self.retry_after = retry_after


class Attempts:
    """A bucket for each ID: it holds `per_minute` claims, and fills up evenly. Safe to use from several threads.

    Each gateway counts for itself.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic, max_ids: int = MAX_IDS):
        """`per_minute`: 0 for no limit. `max_ids`: so many are remembered; the one claimed longest ago goes first."""
        self._per_minute = per_minute
        self._clock = clock
        self._max_ids = max_ids
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # ID → claims left, and when they were

    def claim(self, person_id: str) -> None:
        """Counts one verification of an ID.

        Raises:
            TooManyAttempts: there were too many; this one is not counted.
        """
        if self._per_minute <= 0:
            return
        now, rate = self._clock(), self._per_minute / 60
        with self._lock:
            left, when = self._buckets.get(person_id, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + rate * (now - when))
            if left < 1:
                raise TooManyAttempts(math.ceil((1 - left) / rate))
            self._buckets[person_id] = (left - 1, now)
            self._buckets.move_to_end(person_id)
            if len(self._buckets) > self._max_ids:
                self._buckets.popitem(last=False)
