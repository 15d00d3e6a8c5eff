"""`python -m services.embedder.rotate`: encrypts all stored templates by the present key (`make rotate-key`)."""

from services.common.database import Database, purge
from services.common.env import EnvFile
from services.common.private import keep_files_private
from services.embedder.gallery.renewal import renew
from services.embedder.gallery.store import Gallery
from services.embedder.settings import Settings


def main() -> None:
    """Says how many there were."""
    keep_files_private()
    settings = Settings.from_environment()
    env_file = EnvFile(settings.env_file)
    database = Database(env_file.root)
    gallery = Gallery(lambda: database.engine(env_file.sql()), settings.keyring)
    print(f"{renew(gallery, settings.keyring)} templates encrypted by the present key")
    purge(database.engine(env_file.sql()))


if __name__ == "__main__":
    main()
