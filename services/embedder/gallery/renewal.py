"""Encrypts the stored templates by the present key, while embedders go on."""

from typing import Any

from sqlalchemy import Row, select, tuple_, update

from services.common.database import reading, writing
from services.common.encryption import Keyring
from services.embedder.gallery.store import Gallery
from services.embedder.gallery.tables import templates

#: Templates of one transaction.
STEP = 500

KEY = (templates.c.person_id, templates.c.photo_id, templates.c.model)


def renew(gallery: Gallery, keyring: Keyring) -> int:
    """Returns how many templates were plain or of an earlier key.

    A template that changes meanwhile is left as it is then.

    Raises:
        DatabaseUnavailable, DatabaseRefused, CannotDecrypt.
    """
    renewed = 0
    last: tuple[str, str, str] | None = None
    while rows := _after(gallery, last):
        changes = [
            (row, data) for row in rows if (data := keyring.renewed(row.vector, "template", *_key(row))) is not None
        ]
        if changes:
            with gallery.transaction(writing) as connection:
                for row, data in changes:
                    same = [column == value for column, value in zip(KEY, _key(row), strict=True)]
                    query = update(templates).where(*same, templates.c.vector == row.vector)
                    renewed += connection.execute(query.values(vector=data)).rowcount
        last = _key(rows[-1])
    return renewed


def _after(gallery: Gallery, last: tuple[str, str, str] | None) -> list[Row[*tuple[Any, ...]]]:
    query = select(*KEY, templates.c.vector).order_by(*KEY).limit(STEP)
    if last is not None:
        query = query.where(tuple_(*KEY) > last)
    with gallery.transaction(reading) as connection:
        return list(connection.execute(query).all())


def _key(row: Row[*tuple[Any, ...]]) -> tuple[str, str, str]:
    return row.person_id, row.photo_id, row.model
