"""Whether a server answers, so that whoever needs it while it does not is told so at once."""

import math
import socket
import time
from collections.abc import Callable

from services.embedder.search.index import IndexUnavailable

#: Seconds for which an answer is taken as a sign that there will be others, and a failure that there will be none.
TRUSTED = 1.0
#: Seconds for which, after a failure, one caller tries whether the server is back, and the others do not.
TRYING = 6.0


class Reach:
    """What the last calls to a server tell. Safe to use from several threads."""

    def __init__(self, address: tuple[str, int] | None, clock: Callable[[], float] = time.monotonic):
        """`address`: host and port; None where there is no server, only a file, which is always within reach."""
        self._address = address
        self._clock = clock
        self._answered = -math.inf
        self._failing = False
        self._next_try = 0.0

    def require(self) -> None:
        """Raises IndexUnavailable, at once, where the server has just failed or nobody listens at its address."""
        if not self._address:
            return
        now = self._clock()
        if self._failing:
            if now < self._next_try:
                raise IndexUnavailable("the vector database did not answer a moment ago")
            self._next_try = now + TRYING
        elif now < self._answered + TRUSTED:
            return
        try:
            socket.create_connection(self._address, timeout=TRUSTED).close()
        except OSError as err:
            self.failed()
            raise IndexUnavailable(f"the vector database cannot be reached: {err}") from err

    def answered(self) -> None:
        """Notes that the server answered, whatever it said."""
        self._failing = False
        self._answered = self._clock()

    def failed(self) -> None:
        """Notes that it did not."""
        self._failing = True
        self._next_try = self._clock() + TRUSTED
