"""Reads people page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.gateway.pipeline.profile import profile_of
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.transfer.kept import KeptPerson, KeptPhoto
from services.gateway.stages.types import EmbedderStage, PhotoTemplates
from services.gateway.storage.profiles import PhotoFacts
from services.gateway.storage.types import PersonRecord, Workspace

#: People read at a time, and bytes of pictures after which a page ends.
PAGE = 100
PAGE_BYTES = 3 << 20


@dataclass(frozen=True)
class ExportPage:
    """A page of people, and where the next one begins: behind a photo (`_place`) of whoever comes after a row's number.

    There is no such place on the last.
    """

    people: tuple[KeptPerson, ...]
    after: tuple[str, int] | None


class Exporter:
    """Reads people for another installation."""

    def __init__(self, embedder: EmbedderStage, reconciler: Reconciler):
        self._embedder = embedder
        self._reconciler = reconciler

    def read(self, workspace: Workspace, after: tuple[str, int] | None, templates: bool) -> ExportPage:
        """A page of people in the order of their rows, with templates if they are wanted."""
        if after is None:
            self._reconciler.finish_enrollments(workspace)
        behind, last = after or ("", 0)
        rows = workspace.records.after(last, PAGE)
        known = self._known(workspace, rows) if templates else {}
        people, left = list[KeptPerson](), PAGE_BYTES
        for row in rows:
            photos = list[KeptPhoto]()
            for photo in _photos(workspace, row, behind, known):
                left -= len(photo.photo.png)
                if left < 0 and (people or photos):
                    part = [KeptPerson(profile_of(workspace, row), tuple(photos))] if photos else []
                    ended = photos[-1].photo if photos else None
                    return ExportPage(
                        (*people, *part), (_place(ended.name, ended.augmented) if ended else behind, last)
                    )
                photos.append(photo)
            people.append(KeptPerson(profile_of(workspace, row), tuple(photos)))
            behind, last = "", row.record_id
        return ExportPage(tuple(people), ("", last) if len(rows) == PAGE else None)

    def _known(self, workspace: Workspace, rows: Sequence[PersonRecord]) -> PhotoTemplates:
        if not rows:
            return {}
        return self._embedder.templates_of(workspace.models.answering, [row.person_id for row in rows])


def _photos(workspace: Workspace, row: PersonRecord, behind: str, known: PhotoTemplates) -> Iterator[KeptPhoto]:
    """A person's photos behind a place among them."""
    facts = workspace.people.photos(row.record_id)
    places = {
        _place(name, augmented): (name, augmented) for name, augmented in workspace.photos.names(row.folder).items()
    }
    for name, augmented in (places[place] for place in sorted(places) if place > behind):
        try:
            photo = workspace.photos.read_one(row.folder, name, augmented)
        except FileNotFoundError:  # deleted meanwhile
            continue
        told = None if augmented else facts.get(name) or PhotoFacts(name)
        yield KeptPhoto(photo, told, known.get((row.person_id, name), ()))


def _place(name: str, augmented: bool) -> str:
    """Of a photo among a person's: augmented ones come last."""
    return f"{int(augmented)}{name}"
