"""Search indexes in a vector database, which all embedders of a gallery search and bring up to date together."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from services.common.errors import RecoError
from services.embedder.gallery.changes import Revision
from services.embedder.gallery.store import Gallery
from services.embedder.matching import Metric
from services.embedder.search.index import Hit, IndexUnavailable, Searchable
from services.embedder.search.milvus.collections import Collection, CollectionTable
from services.embedder.search.milvus.index import CollectionGone, Milvus, MilvusIndex

Result = TypeVar("Result")

log = logging.getLogger("reco")

#: Collections that a search may see vanish under it before it gives up.
ATTEMPTS = 4
#: Seconds between two queries whether another embedder has filled a collection.
POLL = 0.2


class SharedIndexes:
    """Indexes (index.py) in Milvus: a collection a model, filled from the gallery and following its changes.

    The gallery's database says which collection is searched and which changes it holds (collections.py). A search first
    writes what is missing, so that whoever has enrolled a person, everybody finds them. Where Milvus cannot be reached
    nothing of this is lost: it is written when Milvus is back.
    """

    def __init__(
        self,
        gallery: Gallery,
        table: CollectionTable,
        milvus: Milvus,
        on_update: Callable[[str, int], None] | None = None,
    ):
        """`on_update`: is told the model (key) and the number of templates of an index that was brought up to date."""
        self._gallery = gallery
        self._table = table
        self._milvus = milvus
        self._on_update = on_update or (lambda model, templates: None)
        self._writing: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def current(self, model: str, dimension: int) -> Searchable:
        return _Current(self, model, dimension)

    def rebuild(self, model: str, dimension: int) -> Searchable:
        self._fill(model, dimension, replace=True)
        return self.current(model, dimension)

    def forget(self) -> None:
        self._table.retire_outdated()
        self._tidy()

    def erase(self) -> None:
        """Deletes the removed from all collections, those of models that are searched no longer too."""
        try:
            for model in self._table.models():
                self._follow(model)
        finally:
            self._tidy()

    def up_to_date(self, model: str, dimension: int) -> MilvusIndex:
        """The collection to be searched, with every change that was committed before the call."""
        now, held = self._table.current(model)
        wanted = now
        for _ in range(ATTEMPTS):
            if held and held.can_follow(now) and held.revision.number >= wanted.number:
                return self._milvus.open(held.name)
            try:
                if held and held.can_follow(now):
                    self._follow(model)
                else:
                    self._make(model, dimension)
            except CollectionGone as err:
                log.warning("search index of %s: a collection vanished while it was written to: %s", model, err)
            now, held = self._table.current(model)
            if now.epoch != wanted.epoch:
                wanted = now
        raise IndexUnavailable("the search index is being replaced over and over")

    def lost(self, name: str) -> None:
        """Notes that Milvus does not have a collection, though it may still be the one to be searched."""
        self._table.retire(name)

    def _follow(self, model: str) -> None:
        """Writes all changes that were committed before the call to the model's collection, if there is one."""
        self._milvus.check()  # before any lock is taken, under which an enrollment would wait for Milvus
        with self._lock_of(model):
            now, held = self._table.current(model)
            if not held or not held.can_follow(now):
                return
            try:
                self._write_changes(model, held, now.number)
            except CollectionGone:
                self.lost(held.name)
                raise

    def _write_changes(self, model: str, held: Collection, number: int) -> None:
        index = self._milvus.open(held.name)
        state: Revision | None = held.revision
        while state and state.number < number:
            state = self._table.write_changes(held.name, model, index)
        if state:
            self._on_update(model, len(index))

    def _make(self, model: str, dimension: int) -> None:
        """Fills a collection, unless another embedder does so."""
        self._milvus.check()
        with self._lock_of(model):
            while True:
                now, held = self._table.current(model)
                if held and held.can_follow(now):
                    return
                if not self._table.is_being_filled(model, now.epoch):
                    break
                time.sleep(POLL)
            self._fill(model, dimension, replace=False)

    def _fill(self, model: str, dimension: int, replace: bool) -> None:
        made = self._table.insert(f"reco_{secrets.token_hex(12)}", model)
        try:
            self._milvus.create(made.name, dimension, f"RECO templates of {model}")
            index = self._milvus.open(made.name)
            for batch in self._gallery.everything(model):
                index.add(batch)
                self._table.note_progress(made.name)
            index.flush()
            self._table.publish(made, model, replace)
        except RecoError:
            self._table.retire(made.name)
            raise
        self._on_update(model, len(index))
        self._tidy()

    def _tidy(self) -> None:
        """Drops collections that are searched no longer."""
        for name in self._table.leftovers():
            try:
                self._milvus.drop(name)
            except IndexUnavailable as err:
                log.warning("collection %s stays in the vector database until it can be dropped: %s", name, err)
            else:
                self._table.delete(name)

    def _lock_of(self, model: str) -> threading.Lock:
        with self._lock:
            return self._writing.setdefault(model, threading.Lock())


class _Current:
    """The index of a model, whichever collection it is in."""

    def __init__(self, indexes: SharedIndexes, model: str, dimension: int):
        self._indexes = indexes
        self._model = model
        self._dimension = dimension

    def search(self, probes: np.ndarray, metric: Metric, threshold: float, people: int = 1) -> list[list[Hit]]:
        return self._with_index(lambda index: index.search(probes, metric, threshold, people))

    def __len__(self) -> int:
        return self._with_index(len)

    def _with_index(self, use: Callable[[MilvusIndex], Result]) -> Result:
        """A collection may be dropped between being found and being used: then another one has taken its place."""
        for _ in range(ATTEMPTS - 1):
            index = self._indexes.up_to_date(self._model, self._dimension)
            try:
                return use(index)
            except CollectionGone:
                self._indexes.lost(index.name)
        return use(self._indexes.up_to_date(self._model, self._dimension))
