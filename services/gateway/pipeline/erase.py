"""Erasure: a person goes with their row, at once; what was kept of them is deleted afterwards, for sure.

Order: the row is deleted and a journal entry written in one transaction (the commit point) → templates, photos and
uploads are deleted → the entry is. A process that dies before the commit leaves the person as before; what one that dies
after it has left, whoever next reads the journal deletes (reconcile.py).
"""

import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from services.common.errors import RecoError
from services.gateway.errors import ErasureIncomplete
from services.gateway.stages.types import EmbedderStage
from services.gateway.storage.types import JournalEntry, PersonRecord, Workspace, stripe_of

#: File names in a journal entry, which has room for 64 KB: for a gateway of an earlier version that may finish it.
MAX_NAMES = 1000


def plan_erasure(
    workspace: Workspace, person_id: str, record: PersonRecord | None, entries: Sequence[JournalEntry]
) -> JournalEntry:
    """What is to be deleted of a person, whose row and unfinished journal entries are given."""
    folders = [record.folder] if record else _stray_folders(workspace, person_id)
    for entry in entries:
        folders += [entry.folder, entry.drop_folder] if entry.erases is None else entry.erases
    named = tuple(dict.fromkeys(folder for folder in folders if folder))
    folder = record.folder if record else ""
    drop = tuple(islice(workspace.photos.names(folder), MAX_NAMES)) if folder else ()
    erasure_id = f"{stripe_of(person_id):03d}-{uuid.uuid4().hex}"
    return JournalEntry(erasure_id, person_id, "", folder, (), folder, drop, named, time.time())


def _stray_folders(workspace: Workspace, person_id: str) -> list[str]:
    """Folders of somebody without a row, as a row that was deleted by hand leaves them: `<name>-<ID>`.

    Names and IDs may have hyphens too: a folder that the row of another ID names is that one's.
    """
    return [
        folder
        for folder in workspace.photos.folders_ending(f"-{person_id}")
        if not any(_owns(workspace, other, folder) for other in _suffixes(folder))
    ]


def _suffixes(folder: str) -> list[str]:
    """What may be the ID in a folder's name."""
    parts = folder.split("-")
    return ["-".join(parts[number:]) for number in range(1, len(parts))]


def _owns(workspace: Workspace, person_id: str, folder: str) -> bool:
    record = workspace.records.find(person_id)
    return record is not None and record.folder == folder


def delete_all(workspace: Workspace, embedder: EmbedderStage, entry: JournalEntry) -> None:
    """Deletes what was kept of a person whose row is deleted: as much as can be, each step idempotent.

    For callers who hold the person's lock.

    Raises:
        ErasureIncomplete: naming what is left.
    """
    left: list[str] = []

    def attempt(what: str, step: Callable[[], list[str] | None]) -> None:
        try:
            workspace.locks.check()
            left.extend(f"{what}: {name}" for name in step() or ())
        except (RecoError, OSError) as err:
            left.append(f"{what}: {err}")

    attempt("templates", lambda: embedder.remove(entry.person_id))
    for folder in entry.erases or ():
        attempt("photos", partial(workspace.photos.erase, folder))
    attempt("staged photos", lambda: unstage_dead(workspace, f"{stripe_of(entry.person_id):03d}"))
    attempt("uploads", lambda: workspace.uploads.erase(entry.person_id, entry.committed_at))
    if left:
        raise ErasureIncomplete(f"erased, but not all could be deleted yet, and it is tried again: {'; '.join(left)}")


def unstage_dead(workspace: Workspace, stripe: str) -> list[str]:
    """Deletes what processes that died have staged of a lock's people, and not committed.

    Args:
        stripe: what the IDs of those enrollments begin with; the lock must be held.

    Returns:
        What could not be deleted.
    """
    left: list[str] = []
    staged = [one for one in workspace.photos.staged() if one.partition("-")[0] == stripe]
    if staged:
        committed = {entry.enrollment_id for entry in workspace.records.journal()}
        for enrollment_id in set(staged) - committed:
            workspace.locks.check()
            left += workspace.photos.unstage(enrollment_id)
    return left
