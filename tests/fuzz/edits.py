"""Changes of bytes such as hostile and broken clients make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

Item = TypeVar("Item")

#: Of what an edit inserts or repeats, the most, bytes.
MAX_INSERTED = 1 << 16

#: Numbers that programs get wrong, as they stand in files and messages.
EXTREMES = (
    b"\0",
    b"\xff",
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\xff" * 9 + b"\1",
)


@dataclass(frozen=True)
class Edit:
    """One change.

    Attributes:
        kind: cut (the end is lost), flip, insert, remove, repeat, overwrite.
        place: where; modulo the length.
        size: of what is removed or repeated, bytes.
        value: what is inserted or written over.
    """

    kind: str
    place: int
    size: int
    value: bytes

    def apply(self, data: bytes) -> bytes:
        place = self.place % (len(data) + 1)
        before, run, rest = data[:place], data[place : place + self.size], data[place + self.size :]
        match self.kind:
            case "cut":
                return before
            case "flip":
                return before + bytes(byte ^ 0xFF for byte in run[:1]) + data[place + 1 :]
            case "insert":
                return before + self.value + data[place:]
            case "remove":
                return before + rest
            case "repeat":
                return before + run * min(64, MAX_INSERTED // max(1, len(run))) + rest
            case _:
                return before + self.value + data[place + len(self.value) :]


def apply(data: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in edits:
        data = edit.apply(data)
    return data


def edited(data: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """The bytes with up to `most` changes."""
    edit = st.builds(
        Edit,
        kind=st.sampled_from(("flip", "overwrite", "cut", "insert", "remove", "repeat")),
        place=st.one_of(st.integers(0, 64), st.integers(0, 1 << 20)),
        size=st.integers(1, 512),
        value=st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=1, max_size=16)),
    )
    return st.builds(apply, data, st.lists(edit, min_size=1, max_size=most))


def chosen(values: Sequence[Item]) -> st.SearchStrategy[Item]:
    """One of the values; unlike `sampled_from` this does not write them down, which takes long where they are large."""
    return st.integers(0, len(values) - 1).map(lambda number: values[number])
