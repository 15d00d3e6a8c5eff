"""How many people are enrolled, near enough: counting a million takes longer than searching them."""

from services.embedder.gallery.changes import Revision
from services.embedder.gallery.store import Gallery

#: The count is taken anew after changes to so many of those counted, as a share.
CHANGED = 0.1


class Population:
    """The number of people in a gallery, a tenth off at most. Safe to use from several threads."""

    def __init__(self, gallery: Gallery):
        self._gallery = gallery
        self._counted: tuple[Revision, int] | None = None

    def count(self) -> int:
        """Raises DatabaseUnavailable."""
        now = self._gallery.revision()
        if self._counted:
            then, people = self._counted
            if then.epoch == now.epoch and now.number - then.number <= people * CHANGED:
                return people
        people = self._gallery.count_people()
        self._counted = now, people
        return people
