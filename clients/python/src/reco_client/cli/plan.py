"""Who is to be enrolled by which photos, out of a folder that may hold anything."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

#: Names of files that are taken for pictures end so.
PICTURES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif"),
)
#: One photo that the API takes in a form, in bytes.
MAX_PHOTO_BYTES = (8 << 20) - (128 << 10)
MAX_CSV_BYTES = 256 << 20


@dataclass(frozen=True)
class Refused:
    """A file or a person that is left out, and why; `person` is a key, or empty."""

    file: str
    why: str
    person: str = ""


@dataclass(frozen=True)
class PersonPlan:
    """Somebody to be enrolled.

    Attributes:
        key: what they are known by from one run to the next: their folder, ID or line.
        person_id: one is made where it is empty.
    """

    key: str
    name: str
    photos: tuple[Path, ...] = ()
    person_id: str = ""
    external_id: str = ""
    labels: tuple[str, ...] = ()


@dataclass
class Plan:
    """All of them, by their keys; `root` is the folder that all photos lie in."""

    root: Path
    people: dict[str, PersonPlan] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    @property
    def photos(self) -> int:
        """How many there are."""
        return sum(len(person.photos) for person in self.people.values())

    def add(self, person: PersonPlan, photo: Path) -> None:
        """Adds a photo to a person, who is the first one that came under this key."""
        known = self.people.get(person.key, person)
        self.people[person.key] = replace(known, photos=(*known.photos, photo))


class Names:
    """Names and IDs out of the names of folders and files: NAME, ID, NAME_ID or, of files, NAME_ID_anything."""

    def __init__(self, id_regex: str):
        """
        Args:
            id_regex: of the installation; ValueError where Python cannot read it.
        """
        try:
            self._id = re.compile(id_regex)
            self._folder = re.compile(rf"(?:(?P<_name>.+?)[_ -]+)?(?P<_id>{id_regex})")
            self._file = re.compile(rf"(?:(?P<_name>.+?)[_ -]+)?(?P<_id>{id_regex})(?:[_ .-].*)?")
        except re.error as err:
            raise ValueError(f"ID_REGEX of the server, {id_regex!r}, cannot be read: {err}; use --csv") from None

    def fits(self, person_id: str) -> bool:
        """Whether it is an ID."""
        return self._id.fullmatch(person_id) is not None

    def of_folder(self, text: str) -> tuple[str, str]:
        """Name and ID; the ID is empty where there is none."""
        found = self._folder.fullmatch(text)
        return _found(found) if found else (_words(text), "")

    def of_file(self, stem: str) -> tuple[str, str] | None:
        """Name and ID; None where there is no ID."""
        found = self._file.fullmatch(stem)
        return _found(found) if found else None


def plan_folder(folder: Path, names: Names) -> Plan:
    """A person for each folder in `folder`, with all pictures below it; of files in `folder` itself by their names.

    Hidden files and folders are passed over. Links to what lies outside are refused, links to folders not followed.
    """
    root = folder.resolve()
    plan = Plan(root)
    for path in _files(root):
        shown = path.relative_to(root)
        if why := unfit(path, root):
            plan.refused.append(Refused(str(shown), why))
        elif len(shown.parts) > 1:
            name, person_id = names.of_folder(shown.parts[0])
            plan.add(PersonPlan(shown.parts[0], name, person_id=person_id), path)
        elif found := names.of_file(path.stem):
            plan.add(PersonPlan(found[1], found[0], person_id=found[1]), path)
        else:
            plan.refused.append(Refused(str(shown), "neither in a person's folder nor named NAME_ID"))
    return plan


def plan_csv(folder: Path, table: Path) -> Plan:
    """A line for each photo: `name`, `photo` (a path in `folder`), and if wanted `person_id`, `external_id` and `labels`
    (separated by semicolons). Lines with one person_id, or else one external_id, or else one name, are one person.

    Raises:
        ValueError: the table has no such columns, is no text or too large.
    """
    if table.stat().st_size > MAX_CSV_BYTES:
        raise ValueError(f"{table} is larger than {MAX_CSV_BYTES >> 20} MiB")
    root = folder.resolve()
    plan = Plan(root)
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"name", "photo"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{table} has no columns `name` and `photo` in its first line")
        try:
            for line in reader:
                _plan_line(plan, {key: (value or "").strip() for key, value in line.items() if key})
        except (csv.Error, UnicodeDecodeError) as err:
            raise ValueError(f"{table}: {err}") from None
    return plan


def unfit(path: Path, root: Path) -> str:
    """Why a file is not sent; empty where it is. It has to lie in `root`, links followed."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            return "leads out of the folder"
        if not real.is_file():
            return "no file"
        size = real.stat().st_size
    except (OSError, RuntimeError, ValueError):
        return "cannot be read"
    if path.suffix.lower() not in PICTURES:
        return "no picture by its name"
    if size == 0:
        return "empty"
    return f"larger than {MAX_PHOTO_BYTES / (1 << 20):.1f} MiB" if size > MAX_PHOTO_BYTES else ""


def _plan_line(plan: Plan, line: dict[str, str]) -> None:
    path = plan.root / line["photo"]
    person_id, external_id, name = line.get("person_id", ""), line.get("external_id", ""), line["name"]
    key = person_id or external_id or name
    why = "has no name" if not name else "" if line["photo"] else "has no photo"
    if "\0" in line["photo"]:
        why = "no file"
    if why := why or unfit(path, plan.root):
        plan.refused.append(Refused(line["photo"], why, key))
        return
    labels = tuple(label.strip() for label in line.get("labels", "").split(";") if label.strip())
    plan.add(PersonPlan(key, name, (), person_id, external_id, labels), path)


def _files(root: Path) -> Iterator[Path]:
    """All files below, in order; links to folders are files here, and no pictures."""
    for folder, folders, names in os.walk(root):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        for name in sorted((*names, *linked)):
            if not name.startswith("."):
                yield Path(folder, name)


def _found(found: re.Match[str]) -> tuple[str, str]:
    return _words(found["_name"] or "") or found["_id"], found["_id"]


def _words(text: str) -> str:
    return " ".join(text.replace("_", " ").split())
