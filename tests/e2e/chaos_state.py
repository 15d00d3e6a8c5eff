"""What there is of the people whom chaos.py enrolls and erases, wherever one looks."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from services.common.database import reading


@dataclass(frozen=True)
class State:
    """Rows, photos, templates and uploads at one time; `leftovers`: what should not be there."""

    rows: tuple[tuple[str, str], ...]
    photos: frozenset[str]
    templates: frozenset[str]
    leftovers: tuple[str, ...]
    uploads: frozenset[str] = frozenset()

    @property
    def agrees(self) -> bool:
        """Whether rows, photos and templates tell of the same people, and nothing else is left."""
        enrolled = bool(self.rows and self.photos)
        absent = not self.rows and not self.photos
        return (enrolled or absent) and self.photos == self.templates and not self.leftovers


@dataclass(frozen=True)
class Places:
    """Where files are of what the gateway stores.

    Attributes:
        photos: a folder a person.
        staging: a folder an enrollment that is not committed.
        uploads: those that wait.
        used: an upload that was enrolled, `{}` being its ID.
    """

    photos: Path
    staging: Path
    uploads: Path
    used: str

    def waiting(self, person_id: str) -> frozenset[str]:
        """Names of a person's uploads, enrolled or not."""
        used = Path(self.used)
        return frozenset(
            path.name
            for path in (
                *self.uploads.glob(f"{person_id}-*"),
                *used.parent.glob(used.name.format(f"{person_id}-*")),
            )
        )

    def is_used(self, upload_id: str) -> bool:
        """Whether an upload was enrolled."""
        return Path(self.used.format(upload_id)).is_dir()


def in_folders(state: Path) -> Places:
    """Of `make run`, whose state is there."""
    images, uploads = state / "db", state / "uploads"
    return Places(images, images / ".staging", uploads, f"{uploads}/{{}}_UPLOADED_TO_DB")


def in_objects(root: Path) -> Places:
    """Of an object store that keeps what is below PHOTOS_URI as files there."""
    return Places(root / "photos", root / "staging", root / "uploads", f"{root}/used/{{}}")


def look(places: Places, engine: Engine, person_id: str) -> State:
    """At all people; uploads are those of one."""
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT reco_name, reco_path FROM reco_table")).all()
        stored = connection.execute(text("SELECT DISTINCT photo_id FROM reco_templates")).scalars().all()
        journal = connection.execute(text("SELECT enrolment_id FROM reco_enrolments")).scalars().all()
    folders = {Path(path).name for _, path in rows}
    photos = [path for path in places.photos.glob("*/*/*.png") if path.parts[-4] != ".staging"]
    strays = [path.name for path in places.photos.glob("*") if path.name[0] != "." and path.name not in folders]
    unfinished = [*places.staging.glob("*"), *places.uploads.glob(".unfinished-*")]
    leftovers = [*journal, *strays, *(path.name for path in unfinished)]
    names = frozenset(path.name for path in photos)
    return State(tuple(map(tuple, rows)), names, frozenset(stored), tuple(leftovers), places.waiting(person_id))
