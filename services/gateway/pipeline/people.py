"""IDs and names of people: what is accepted, and how it becomes a folder's name."""

import unicodedata

from services.common.env_checks import compile_id_regex
from services.gateway.errors import InvalidName, InvalidPersonId

#: `<name>-<ID>` is a folder's name, which may have 255 bytes.
MAX_BYTES = 120

#: What stands where a character was that could not be read.
LOST = "\ufffd"

#: Zero width non-joiner and joiner: how letters are written that are next to them, in Persian, Hindi, Sinhala.
JOINERS = "\u200c\u200d"


def check_person_id(person_id: str, pattern: str) -> str:
    """The ID itself, where ID_REGEX matches all of it and it is safe as part of a folder's name.

    Raises:
        InvalidPersonId: otherwise.
    """
    if not compile_id_regex(pattern).fullmatch(person_id):
        raise InvalidPersonId("the ID does not match ID_REGEX")
    unsafe = any(char in f"/\\:{LOST}" or unicodedata.category(char).startswith("C") for char in person_id)
    if unsafe or person_id.startswith(".") or person_id != person_id.strip() or not 0 < _size(person_id) <= MAX_BYTES:
        raise InvalidPersonId("the ID cannot be the name of a folder")
    return person_id


def normalise_name(name: str) -> str:
    """A name as it is stored: words in lower case, joined by `_` (`Dwayne  Johnson` → `dwayne_johnson`).

    Words are letters, marks, digits, and apostrophes, hyphens and joiners within; other invisible characters of formatting
    are dropped, all else separates.

    Raises:
        InvalidName: no word in it, a character that could not be read, or longer than MAX_BYTES.
    """
    if LOST in name:
        raise InvalidName("the name holds what is no character of its charset")
    stored = "_".join(_words(name)).lower()
    if not stored or _size(stored) > MAX_BYTES:
        raise InvalidName(f"the name must hold a word and have at most {MAX_BYTES} bytes")
    return stored


def display_name(stored: str) -> str:
    """A stored name as it is answered (`dwayne_johnson` → `Dwayne Johnson`)."""
    return " ".join(word[:1].upper() + word[1:] for word in stored.split("_"))


def capitalise(name: str) -> str:
    """A name as it is answered: capitals within words stay, where a word is not all in capitals.

    `ronald McDonald` → `Ronald McDonald`, `DWAYNE JOHNSON` → `Dwayne Johnson`.
    """
    words = (word.lower() if word == word.upper() else word for word in _words(name))
    return " ".join(word[:1].upper() + word[1:] for word in words)


def _words(name: str) -> list[str]:
    words = (word.strip(f"'’-{JOINERS}") for word in unicodedata.normalize("NFC", _letters(name)).split())
    return [word for word in words if word]


def _letters(name: str) -> str:
    """A name with a space for whatever separates words."""

    def kept(char: str) -> str:
        category = unicodedata.category(char)
        if category[0] in "LMN" or char in f"'’-{JOINERS}":
            return char
        return "" if category == "Cf" and char != "\u200b" else " "  # the zero width space separates

    return "".join(map(kept, name))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
