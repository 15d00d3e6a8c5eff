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


def look(folder: Path, engine: Engine, person_id: str) -> State:
    """At all people; uploads are those of one."""
    images = folder / "var" / "db"
    with reading(engine) as connection:
        rows = connection.execute(text("SELECT reco_name, reco_path FROM reco_table")).all()
        stored = connection.execute(text("SELECT DISTINCT photo_id FROM reco_templates")).scalars().all()
        journal = connection.execute(text("SELECT enrolment_id FROM reco_enrolments")).scalars().all()
    folders = {Path(path).name for _, path in rows}
    photos = [path for path in images.glob("*/*/*.png") if path.parts[-4] != ".staging"]
    strays = [path.name for path in images.glob("*") if path.name[0] != "." and path.name not in folders]
    uploads = folder / "var" / "uploads"
    unfinished = [*(images / ".staging").glob("*"), *uploads.glob(".unfinished-*")]
    leftovers = [*journal, *strays, *(path.name for path in unfinished)]
    names = frozenset(path.name for path in photos)
    waiting = frozenset(path.name for path in uploads.glob(f"{person_id}-*"))
    return State(tuple(map(tuple, rows)), names, frozenset(stored), tuple(leftovers), waiting)
