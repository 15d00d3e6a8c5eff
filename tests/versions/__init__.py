"""Databases as earlier versions have left them: RECO_ID_1, Eileen Collins, enrolled by Dlib, and RECO_ID_9, removed.

Dumps of the tables, made by running that version; RECO_ID_9's row is of a version still earlier.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.mariadb import MariaDB

ALL = ("v0_1",)

#: In DB_PATH: her folder and photos, the second one augmented.
FOLDER = "eileen_collins-RECO_ID_1"
PHOTOS = ("faces/8057bfee0982-001.png", "augmented_imgs/8057bfee0982-001-aug01.png")


def load_sqlite(version: str, file: Path) -> None:
    """Makes a database of it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(_dump(version, "sqlite"))


def load_mariadb(version: str, server: MariaDB) -> None:
    """Has the server's schema hold it alone."""
    server.empty()
    with closing(server.connect()) as connection:
        cursor = connection.cursor()
        for statement in filter(str.strip, _dump(version, "mariadb").split(";\n")):
            cursor.execute(statement)


def _dump(version: str, kind: str) -> str:
    return (Path(__file__).parent / version / f"{kind}.sql").read_text()
