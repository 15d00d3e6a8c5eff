"""Whether what is stored of people agrees: rows, photos and templates, each with the others."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from sqlalchemy import MetaData, Table, delete, func, select, update

from deploy.data.installation import Installation
from services.common.database import reading, writing
from services.common.errors import RecoError
from services.embedder.gallery.store import new_epoch
from services.embedder.gallery.tables import people as galleries
from services.embedder.gallery.tables import revisions, templates
from services.gateway.storage.types import PersonRecord

#: Rows looked at in one go.
PAGE = 500


@dataclass(frozen=True)
class Finding:
    """Something that does not agree.

    Attributes:
        whose: a person's ID, or a folder's name.
        what: is wrong, and what to do where nothing can be repaired here.
        repair: mends it, for whoever holds the person's lock; None where nothing can.
    """

    whose: str
    what: str
    repair: Callable[[], object] | None = None


def check(installation: Installation, repair: bool = False) -> list[Finding]:
    """What does not agree; it is repaired where `repair` says so. Raises RecoError, OSError.

    What looks wrong is looked at again with the person's lock held; who is being enrolled or erased is left out.
    """
    return list(_findings(installation, installation.answering(), repair))


def show(findings: Sequence[Finding], installation: Installation, repaired: bool = False) -> None:
    """Prints them, and what was looked at."""
    for finding in findings:
        how = "" if finding.repair is None else " (repaired)" if repaired else " (REPAIR=yes repairs it)"
        print(f"{finding.whose} {finding.what}{how}")
    with reading(installation.engine) as connection:
        stored = connection.scalar(select(func.count()).select_from(templates))
    result = f"{len(findings)} things do not agree" if findings else "all agree"
    print(f"{installation.records.count()} people, {stored} templates: {result}")
    if unfinished := len(installation.records.journal()):
        print(f"{unfinished} enrollments or erasures are under way; running services finish them")


def _findings(installation: Installation, models: Collection[str], repair: bool) -> Iterator[Finding]:
    last = 0
    while page := installation.records.after(last, PAGE):
        last = page[-1].record_id
        known = _Known(installation, page)
        for record in page:
            if _examine(installation, record, known, models):
                yield from _again(installation, record.person_id, models, repair)
    yield from _templates_of_nobody(installation, repair)
    yield from _folders_of_nobody(installation, repair)


def _again(installation: Installation, person_id: str, models: Collection[str], repair: bool) -> list[Finding]:
    with installation.locks.hold(person_id):
        record = installation.records.find(person_id)
        if record is None or installation.records.journal(person_id):
            return []
        return _repaired(_examine(installation, record, _Known(installation, [record]), models), repair)


def _repaired(findings: list[Finding], repair: bool) -> list[Finding]:
    for finding in findings:
        if repair and finding.repair:
            finding.repair()
    return findings


class _Known:
    """What the database has of some people's photos.

    Attributes:
        templates: names of photos, by person and model key.
        facts: names of photos, by the number of the person's row.
    """

    def __init__(self, installation: Installation, page: Sequence[PersonRecord]):
        self.templates: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.facts: dict[int, set[str]] = defaultdict(set)
        ids, numbers = [record.person_id for record in page], [record.record_id for record in page]
        photos, columns = installation.tables.photos, (templates.c.person_id, templates.c.model, templates.c.photo_id)
        with reading(installation.engine) as connection:
            for person_id, model, name in connection.execute(select(*columns).where(templates.c.person_id.in_(ids))):
                self.templates[person_id][model].add(name)
            described = select(photos.c.record_id, photos.c.name).where(photos.c.record_id.in_(numbers))
            for number, name in connection.execute(described):
                self.facts[number].add(name)


def _examine(installation: Installation, record: PersonRecord, known: _Known, models: Collection[str]) -> list[Finding]:
    whose, names = record.person_id, installation.photos.names(record.folder)
    if not any(not augmented for augmented in names.values()):
        return [Finding(whose, f"has no photos in {record.folder}: enroll or erase this person")]
    landmarks = {name: _landmarks(installation, record.folder, name, augmented) for name, augmented in names.items()}
    findings = [
        Finding(whose, f"{name} cannot be read: restore or delete the photo")
        for name, found in landmarks.items()
        if found is None
    ]
    if what := _of_templates(known.templates[whose], landmarks, models):
        findings.append(Finding(whose, what, lambda: _have_embedded_again(installation, whose)))
    if stale := sorted(known.facts[record.record_id] - set(names)):
        what = f"is described by photos that are gone: {', '.join(stale)}"
        findings.append(Finding(whose, what, lambda: _forget_facts(installation, record.record_id, stale)))
    return findings


def _landmarks(installation: Installation, folder: str, name: str, augmented: bool) -> bool | None:
    """Whether a photo carries landmarks; None where it cannot be read."""
    try:
        photo = installation.photos.read_one(folder, name, augmented)
        decoded = cv2.imdecode(np.frombuffer(photo.png, np.uint8), cv2.IMREAD_COLOR) if photo.png else None
    except (RecoError, FileNotFoundError):
        return None
    return None if decoded is None else photo.landmarks is not None


def _of_templates(
    embedded: Mapping[str, set[str]], landmarks: Mapping[str, bool | None], models: Collection[str]
) -> str:
    """What is wrong with a person's templates; empty where nothing is."""
    if gone := sorted(set().union(*embedded.values()) - set(landmarks)):
        return f"has templates of photos that are gone: {', '.join(gone)}"
    for model in models:
        if lacking := _lacking(model, embedded, landmarks):
            return f"lacks templates of {model} for {', '.join(lacking)}"
    return ""


def _lacking(model: str, embedded: Mapping[str, set[str]], landmarks: Mapping[str, bool | None]) -> list[str]:
    """Photos without a template of any version of the model. One without landmarks may show no face, and then has none."""
    versions = [photos for key, photos in embedded.items() if key.partition(":")[0] == model]
    has: set[str] = max(versions, key=len, default=set())
    return [name for name, found in landmarks.items() if name not in has and found is not None and (found or not has)]


def _have_embedded_again(installation: Installation, person_id: str) -> None:
    """Templates are made from the photos when they are next needed, and of all who lack them when services look again."""
    installation.gallery.remove(person_id)
    with writing(installation.engine) as connection:
        connection.execute(update(revisions).values(epoch=new_epoch()))


def _forget_facts(installation: Installation, record_id: int, names: Sequence[str]) -> None:
    photos = installation.tables.photos
    with writing(installation.engine) as connection:
        connection.execute(delete(photos).where(photos.c.record_id == record_id, photos.c.name.in_(names)))


def _templates_of_nobody(installation: Installation, repair: bool) -> Iterator[Finding]:
    with reading(installation.engine) as connection:
        embedded = set(connection.scalars(select(galleries.c.person_id)))
        embedded |= set(connection.scalars(select(templates.c.person_id).distinct()))
    for person_id in sorted(embedded - set(_column(installation, installation.env.id_col))):
        with installation.locks.hold(person_id):
            if not installation.records.find(person_id) and not installation.records.journal(person_id):
                finding = Finding(
                    person_id, "is nobody, and has templates", partial(installation.gallery.remove, person_id)
                )
                yield from _repaired([finding], repair)


def _folders_of_nobody(installation: Installation, repair: bool) -> Iterator[Finding]:
    photos = installation.photos
    suspects = _folders(installation) - _known_folders(installation)
    if suspects:
        with installation.nobody_changes():
            for name in sorted(_folders(installation) & suspects - _known_folders(installation)):
                what = f"is a folder of nobody: a repair moves it to {photos.orphans}"
                yield from _repaired([Finding(name, what, partial(photos.set_aside, name))], repair)


def _folders(installation: Installation) -> set[str]:
    return {name for name in installation.photos.folders_ending("") if not name.startswith(".")}


def _known_folders(installation: Installation) -> set[str]:
    """Of people, and of whoever is being enrolled or erased."""
    pending = {name for entry in installation.records.journal() for name in (entry.folder, entry.drop_folder)}
    paths = _column(installation, installation.env.path_col)
    return pending | {PersonRecord(0, "", "", path).folder for path in paths}


def _column(installation: Installation, name: str) -> list[str]:
    """Of the table of people."""
    table = Table(installation.env.sql_table, MetaData(), autoload_with=installation.engine)
    column = next(column for column in table.columns if column.name.lower() == name.lower())
    with reading(installation.engine) as connection:
        return [str(value) for value in connection.scalars(select(column))]
