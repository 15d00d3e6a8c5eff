"""Search indexes of this process that follow the gallery, whoever changes it."""

import threading
from collections.abc import Callable

from services.embedder.gallery.changes import Revision
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.templates import no_templates
from services.embedder.search.index import Index


class LocalIndex:
    """The index of one model. Safe to use from several threads."""

    def __init__(
        self,
        gallery: Gallery,
        model: str,
        make_index: Callable[[], Index],
        on_update: Callable[[str, int], None] | None = None,
    ):
        """`model`: its key; `make_index` makes an empty index; `on_update`: see LocalIndexes."""
        self._gallery = gallery
        self._model = model
        self._make_index = make_index
        self._on_update = on_update
        self._lock = threading.Lock()
        self._state: tuple[Revision, Index] | None = None

    def current(self) -> Index:
        """The index with every change that was committed before the call.

        Costs one small query where nothing has changed. Whoever needs changes waits until they are in; searches under
        way go on with what they have.
        """
        now = self._gallery.revision()
        if self._state and self._state[0] == now:
            return self._state[1]
        with self._lock:
            return self._follow()

    def _follow(self) -> Index:
        now = self._gallery.revision()
        if self._state and self._state[0].epoch == now.epoch and self._state[0].number <= now.number:
            index = self._state[1]
            for bucket in self._gallery.removals_since(self._state[0].number):
                index.apply(dict.fromkeys(self._gallery.absent(index.people_of(bucket)), no_templates()))
            for batch in self._gallery.changes_since(self._state[0].number, self._model):
                index.apply(batch)
        else:
            index = self._make_index()
            for batch in self._gallery.everything(self._model):
                index.add(batch)
        self._state = (now, index)
        if self._on_update:
            self._on_update(self._model, len(index))
        return index


class LocalIndexes:
    """A LocalIndex for each model that is searched."""

    def __init__(
        self,
        gallery: Gallery,
        make_index: Callable[[int], Index],
        on_update: Callable[[str, int], None] | None = None,
    ):
        """
        Args:
            make_index: makes an empty index for templates of the given dimension.
            on_update: is told the model (key) and the number of templates of an index that was brought up to date.
        """
        self._gallery = gallery
        self._make_index = make_index
        self._on_update = on_update
        self._indexes: dict[str, LocalIndex] = {}
        self._lock = threading.Lock()

    def current(self, model: str, dimension: int) -> Index:
        """The up-to-date index of a model (key); raises DatabaseUnavailable."""
        with self._lock:
            if model not in self._indexes:
                self._indexes[model] = self._new(model, dimension)
            local = self._indexes[model]
        return local.current()

    def rebuild(self, model: str, dimension: int) -> Index:
        """Makes the index of a model (key) anew; until it is there, searches use the one that was."""
        local = self._new(model, dimension)
        index = local.current()
        with self._lock:
            self._indexes[model] = local
        return index

    def forget(self) -> None:
        """Drops the indexes; the next search makes them anew from what the gallery holds then."""
        with self._lock:
            self._indexes.clear()

    def erase(self) -> None:
        """Does nothing: nothing here outlives the process, and the next search forgets who was removed."""

    def _new(self, model: str, dimension: int) -> LocalIndex:
        return LocalIndex(self._gallery, model, lambda: self._make_index(dimension), self._on_update)
