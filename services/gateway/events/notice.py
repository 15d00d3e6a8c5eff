"""What a receiver is told: which of the things in the audit log, in which words."""

import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from services.gateway.access.audit import Event

#: By what was done, and how it ended.
TYPES = {
    ("enroll", "created"): "person.enrolled",
    ("enroll", "added"): "person.enrolled",
    ("enroll", "replaced"): "person.enrolled",
    ("merge", "merged"): "person.enrolled",
    ("erase", "erased"): "person.deleted",
    ("erase", "merged"): "person.deleted",
    ("delete_photo", "erased"): "person.deleted",
    ("verify", "verified"): "person.verified",
    ("verify", "found_same"): "person.verified",
    ("verify", "found_other"): "person.unknown",
    ("verify", "found_none"): "person.unknown",
    ("verify", "not_verified"): "person.unknown",
    ("verify", "spoof"): "face.spoof",
}


@dataclass(frozen=True)
class Notice:
    """Something that happened.

    Attributes:
        notice_id: the same each time it is told.
        moment: nanoseconds since 1970.
    """

    notice_id: str
    moment: int
    type: str
    event: Event

    def body(self) -> bytes:
        """As it is sent, JSON: no name, no picture, no distance."""
        data = {"person_id": self.event.person, "key": self.event.key, "request_id": self.event.request}
        when = datetime.fromtimestamp(self.moment / 1e9, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"type": self.type, "timestamp": when, "data": data}).encode()


def notice_of(event: Event) -> Notice | None:
    """What is told of something; None where nothing is."""
    found = TYPES.get((event.action, event.outcome))
    return Notice(uuid.uuid4().hex, time.time_ns(), found, event) if found else None
