"""Retention: people whom nobody has enrolled, verified or found for so long are erased, as a client would erase them.

Off unless RECO_PERSON_TTL says how long. Who has no day of last use gets the present one: nobody is erased before retention
has been on for that long. Where it is off, what is known is forgotten, since it would be old when it is switched on again.
"""

import logging

from services.common.errors import RecoError
from services.gateway.pipeline.last_uses import LastUses
from services.gateway.pipeline.pipeline import Enrolls
from services.gateway.storage.types import Workspace

log = logging.getLogger("reco")

#: Rows read at a time.
PAGE = 1000


class Retention:
    """Erases who is not used. For one thread; several gateways may do so at once."""

    def __init__(self, enroller: Enrolls, uses: LastUses, days: int):
        """`days`: without use, after which a person is erased; 0 for never."""
        self._enroller = enroller
        self._uses = uses
        self._days = days
        self._swept = 0

    def sweep(self, workspace: Workspace) -> None:
        """Writes down who was recognised, and once a day erases whom nobody has used for so long.

        Raises:
            RecoError: the database cannot be asked. What fails for one person keeps nobody else.
        """
        self._uses.write(workspace)
        today = self._uses.today
        if self._swept == today:
            return
        if self._days:
            self._erase_unused(workspace, today)
        else:
            workspace.records.forget_uses()
        self._swept = today

    def _erase_unused(self, workspace: Workspace, today: int) -> None:
        last = 0
        while page := workspace.records.after(last, PAGE):
            ids = [record.person_id for record in page]
            days = workspace.records.last_uses(ids)
            workspace.records.use([person_id for person_id in ids if person_id not in days], today)
            for person_id, day in days.items():
                if day < today - self._days:
                    self._erase(workspace, person_id, today - self._days)
            last = page[-1].record_id

    def _erase(self, workspace: Workspace, person_id: str, day: int) -> None:
        try:
            self._enroller.delete_unused(workspace, person_id, day)
        except RecoError as err:
            log.warning("a person whom nobody uses any more could not be erased, or not at once: %s", err)
