"""Entries of what was committed and is not finished yet, as the table of them keeps them."""

import json
import math

from services.gateway.storage.types import JournalEntry


def entry_to_json(entry: JournalEntry) -> str:
    """The column `details`. Its keys are fixed: an entry may be finished by another version than wrote it."""
    fields: dict[str, object] = {
        "enrolment_id": entry.enrollment_id,
        "person_id": entry.person_id,
        "upload_id": entry.upload_id,
        "folder": entry.folder,
        "keep": entry.keep,
        "drop_folder": entry.drop_folder,
        "drop": entry.drop,
    }
    if entry.erases is not None:  # earlier versions delete the photos, the templates and the entry, but no uploads
        fields |= {"erases": entry.erases, "committed_at": entry.committed_at}
    return json.dumps(fields, ensure_ascii=True)


def entry_from_json(details: str) -> JournalEntry:
    """An entry of the column `details`."""
    fields = json.loads(details)
    return JournalEntry(
        enrollment_id=fields["enrolment_id"],
        person_id=fields["person_id"],
        upload_id=fields["upload_id"],
        folder=fields["folder"],
        keep=tuple(fields["keep"]),
        drop_folder=fields["drop_folder"],
        drop=tuple(fields["drop"]),
        erases=tuple(fields["erases"]) if "erases" in fields else None,
        committed_at=fields.get("committed_at", math.inf),
    )
