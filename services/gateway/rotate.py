"""`python -m services.gateway.rotate`: encrypts all photos and uploads by the present key (`make rotate-key`)."""

import uuid

from services.common.database import Database
from services.common.env import EnvFile
from services.common.private import keep_files_private
from services.gateway.env import Env
from services.gateway.settings import Settings
from services.gateway.storage.locks import open_locks
from services.gateway.storage.records import SqlRecords
from services.gateway.storage.stores import KeptPhotos, open_stores
from services.gateway.storage.types import PersonLocks, stripe_of

#: Rows read at a time.
PAGE = 1000


def main() -> None:
    """Says how many there were."""
    keep_files_private()
    settings = Settings.from_environment()
    env_file = EnvFile(settings.env_file)
    env = Env(**env_file.read())
    engine = Database(env_file.root).engine(env.sql)
    records, locks = SqlRecords(engine, env), open_locks(engine, env.db_path)
    stores = open_stores(settings.photos, settings.uploads, settings.keyring)
    print(f"{renew_photos(records, stores.photos(env), locks)} photos encrypted by the present key")
    print(f"{stores.uploads(env).renew()} uploaded photos encrypted by the present key")


def renew_photos(records: SqlRecords, photos: KeptPhotos, locks: PersonLocks) -> int:
    """Person by person, with the lock of each; returns how many photos there were."""
    last = renewed = 0
    while page := records.after(last, PAGE):
        for person_id in [record.person_id for record in page]:
            with locks.hold(person_id):
                record = records.find(person_id)
                if record and photos.has(record.folder):
                    renewed += photos.renew(f"{stripe_of(person_id):03d}-{uuid.uuid4().hex}", record.folder)
        last = page[-1].record_id
    return renewed


if __name__ == "__main__":
    main()
