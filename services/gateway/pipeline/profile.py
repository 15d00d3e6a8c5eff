"""What is known of a person, in agreement with their row, which may have been changed by others than this version."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from services.gateway.errors import InvalidField, InvalidName
from services.gateway.pipeline.people import LOST, MAX_BYTES, capitalise, display_name, normalise_name
from services.gateway.storage.profiles import Profile
from services.gateway.storage.types import PersonRecord, Workspace

MAX_LABELS = 32
MAX_LABEL_BYTES = 64

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

#: Control characters, surrogates, private ones and line ends. (Joiners, which are formatting, are part of words.)
INVISIBLE = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}


def profile_of(workspace: Workspace, record: PersonRecord) -> Profile:
    """What is known of the person of a row."""
    return current_profile(record, workspace.people.find(record.record_id))


def current_profile(record: PersonRecord, known: Profile | None) -> Profile:
    """What is known of the person of a row, given what was written down under its number.

    A profile of somebody else, whose number the row has got, does not count; nor a display name for another stored name.
    """
    if known is None or known.person_id != record.person_id:
        return Profile(record.record_id, record.person_id, record.name, display_name(record.name))
    if known.stored_name == record.name:
        return known
    return replace(known, stored_name=record.name, display_name=display_name(record.name))


def answered_name(workspace: Workspace, record: PersonRecord) -> str:
    """A person's name as the REST contract answers it: capitalised words."""
    known = next(iter(workspace.people.between(record.record_id - 1, record.record_id)), None)
    return capitalise(current_profile(record, known).display_name)


def check_display_name(field: str, name: str) -> str:
    """A display name, its spaces made single; it must hold a word, as what is stored of it in the row does.

    Raises:
        InvalidField: it does not, or is longer than 120 bytes.
    """
    shown = " ".join(name.split())
    try:
        normalise_name(shown)
    except InvalidName as err:
        raise InvalidField(field, str(err), err.reason) from err
    return _check_text(field, shown, MAX_BYTES)


def check_external_id(field: str, external_id: str) -> str:
    """An external ID; may be empty. Raises InvalidField."""
    return _check_text(field, external_id.strip(), MAX_BYTES)


def check_labels(field: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Labels in order, each once. Raises InvalidField."""
    if len(labels) > MAX_LABELS:
        raise InvalidField(field, f"at most {MAX_LABELS} labels are taken")
    checked = [_check_text(f"{field}[{number}]", label.strip(), MAX_LABEL_BYTES) for number, label in enumerate(labels)]
    if not all(checked):
        raise InvalidField(f"{field}[{checked.index('')}]", "a label cannot be empty")
    return tuple(sorted(set(checked)))


def check_request_id(field: str, request_id: str) -> str:
    """The ID of a request; may be empty. Raises InvalidField."""
    if request_id and not REQUEST_ID.fullmatch(request_id):
        raise InvalidField(field, "up to 64 letters, digits and ._:- are taken; a UUID is best")
    return request_id


def _check_text(field: str, text: str, most: int) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > most:
        raise InvalidField(field, f"at most {most} bytes are taken")
    if any(char == LOST or unicodedata.category(char) in INVISIBLE for char in text):
        raise InvalidField(field, "characters that cannot be seen are not taken")
    return text
