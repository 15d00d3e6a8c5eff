"""IDs of uploads: `<person_id>-<digits>`."""

import secrets

from services.gateway.storage.types import split_upload_id

#: Bytes that the name of a folder may have.
MAX_FOLDER_NAME = 255


def new_token() -> str:
    """Digits that nobody guesses."""
    return str(secrets.randbelow(9 * 10**17) + 10**17)


def owner_of(upload_id: str) -> str:
    """Whose upload it is; empty where it is no upload's ID."""
    owner, token = split_upload_id(upload_id)
    return owner if token.isascii() and token.isdigit() and _can_be_stored(upload_id) else ""


def _can_be_stored(text: str) -> bool:
    return "/" not in text and "\0" not in text and len(text.encode()) <= MAX_FOLDER_NAME
