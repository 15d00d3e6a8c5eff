"""Messages of any type, as bytes on the wire: plausible, with one thing wrong, or all of it.

What is plausible is told by hints, for a field by its name; a field without one gets a value that fits its type.
"""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from tests.fuzz.edits import chosen, edited

#: Values by a field's name or full name, or a whole message by its full name.
Hints = Mapping[str, st.SearchStrategy[Any]]

#: Stands in a message for as many bytes that are not UTF-8, which no message that Python makes can hold.
NOT_UTF8 = "\x01not-utf8\x01"
_NOT_UTF8_BYTES = b"a\xff\xfe\xc0\xaf\xed\xa0\x80\x80b"

#: Messages in messages are left empty below this depth.
MAX_DEPTH = 6

#: How many values of a repeated field are many: of messages, of others.
MANY_MESSAGES, MANY = (12, 12, 40), (20, 300, 10_001)

ODD_TEXTS = (
    "",
    " ",
    "\0",
    ".",
    "..",
    "../../etc/passwd",
    "a/b\\c:d",
    "%00%2e%2e%2f",
    "'; DROP TABLE reco_table; --",
    "{{7*7}}${x}%s%n",
    "\ufffd",
    "\u202e\u200d\u0301",
    "名前 😀",
    "\ud7ff\ue000\U0010ffff",
    "a" * 121,
    "é" * 256,
    "x" * 70_000,
    "-1",
    "1e999",
    NOT_UTF8,
)
ODD_FLOATS = (0.0, -0.0, -1.0, 1e-45, 3.4e38, -3.4e38, float("nan"), float("inf"), float("-inf"))

_KINDS = FieldDescriptor
_SIZES = {
    _KINDS.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _KINDS.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _KINDS.CPPTYPE_UINT32: (0, 2**32 - 1),
    _KINDS.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Messages:
    """Makes messages by hints."""

    def __init__(self, hints: Hints):
        self._hints = hints

    def of(self, kind: Descriptor, depth: int = 0, is_right: bool = False) -> st.SearchStrategy[Message]:
        """Messages of a type. Something in most of them is wrong, and then the rest is mostly right; or nothing is."""
        if kind.full_name in self._hints:
            return self._hints[kind.full_name]
        fields = list(kind.fields) if depth < MAX_DEPTH else []
        made = message_factory.GetMessageClass(kind)
        usual = [self._usual(field, depth) for field in fields]
        odd = [self._odd(field, depth) for field in fields]

        @st.composite
        def message(draw: st.DrawFn) -> Message:
            wrong = draw(_WRONG) if fields and not is_right else ""
            which = draw(st.integers(0, len(fields) - 1)) if wrong == "one" else -1
            one = made()
            for number, field in enumerate(fields):
                is_odd = wrong == "all" or number == which
                _set(one, field, draw((odd if is_odd else usual)[number]))
            return one

        return message()

    def _usual(self, field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
        hint = self._hints.get(field.full_name, self._hints.get(field.name))
        if hint is not None:
            return hint
        return (
            st.lists(self._plain(field, depth), min_size=1, max_size=2)
            if field.is_repeated
            else self._plain(field, depth)
        )

    def _odd(self, field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
        """None is for a field that is not set."""
        strange = self._strange(field)
        if field.message_type and depth < MAX_DEPTH:
            strange = st.one_of(strange, self.of(field.message_type, depth + 1))
        if not field.is_repeated:
            return st.one_of(st.none(), strange)
        value = st.one_of(self._plain(field, depth), strange)
        usual, counts = self._usual(field, depth), MANY_MESSAGES if field.message_type else MANY
        many = st.builds(lambda some, count: (list(some) * count)[:count], usual, st.sampled_from(counts))
        return st.integers(0, 5).flatmap(
            lambda often: st.one_of(st.none(), st.lists(value, max_size=3)) if often else many
        )

    def _plain(self, field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
        """One value that fits the type."""
        if field.message_type:
            return self.of(field.message_type, depth + 1, is_right=True)
        if field.enum_type:
            return st.sampled_from([value.number for value in field.enum_type.values])
        match field.cpp_type:
            case _KINDS.CPPTYPE_BOOL:
                return st.booleans()
            case _KINDS.CPPTYPE_FLOAT | _KINDS.CPPTYPE_DOUBLE:
                return st.floats(0, 1, width=32)
            case _KINDS.CPPTYPE_STRING if field.type == _KINDS.TYPE_BYTES:
                return st.binary(max_size=64)
            case _KINDS.CPPTYPE_STRING:
                return st.text(_CHARACTERS, max_size=20)
            case _:
                return st.integers(0, 4)

    def _strange(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        """One value that the type allows and little else."""
        if field.message_type:
            return st.builds(message_factory.GetMessageClass(field.message_type))
        match field.cpp_type:
            case _KINDS.CPPTYPE_BOOL:
                return st.booleans()
            case _KINDS.CPPTYPE_ENUM:
                return st.sampled_from([-1, 99, 2**31 - 1])
            case _KINDS.CPPTYPE_FLOAT | _KINDS.CPPTYPE_DOUBLE:
                return st.one_of(st.sampled_from(ODD_FLOATS), st.floats(width=32))
            case _KINDS.CPPTYPE_STRING if field.type == _KINDS.TYPE_BYTES:
                return st.one_of(self._hints["odd bytes"], chosen([b"", bytes(1 << 16)]))
            case _KINDS.CPPTYPE_STRING:
                return st.one_of(chosen(ODD_TEXTS), st.text(_CHARACTERS, max_size=40))
            case kind:
                least, most = _SIZES[kind]
                return st.one_of(st.sampled_from([least, most, 0, 1, 65_536]), st.integers(least, most))


_WRONG = st.sampled_from(("", "", "", "one", "one", "one", "one", "all"))
#: All that UTF-8 can hold.
_CHARACTERS = st.characters(codec="utf-8")


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Sets a field; None leaves it."""
    if value is None:
        return
    if not field.is_repeated:
        getattr(message, field.name).CopyFrom(value) if field.message_type else setattr(message, field.name, value)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        _fill(getattr(message, field.name), field.message_type, value)
    else:
        getattr(message, field.name).extend(value)


def _fill(mapping: Any, entry: Descriptor, values: list[Any]) -> None:
    for value in values:
        if entry.fields_by_name["value"].message_type:
            mapping[value.key].CopyFrom(value.value)
        else:
            mapping[value.key] = value.value


def serialised(message: Message) -> bytes:
    """The bytes of a message, with bytes that are not UTF-8 where NOT_UTF8 stands."""
    return message.SerializeToString().replace(NOT_UTF8.encode(), _NOT_UTF8_BYTES)


def wire(messages: st.SearchStrategy[Message]) -> st.SearchStrategy[bytes]:
    """Messages as bytes; a few of them are changed until they are none, or something else was sent."""
    whole = messages.map(serialised)
    kinds: dict[str, Callable[[], st.SearchStrategy[bytes]]] = {
        "whole": lambda: whole,
        "edited": lambda: edited(whole),
        "noise": lambda: st.one_of(st.binary(max_size=64), chosen(_NOISE)),
    }
    return st.sampled_from(["whole"] * 12 + ["edited"] * 2 + ["noise"]).flatmap(lambda kind: kinds[kind]())


#: Groups within groups, a length beyond the end, a field that never ends, field number 0.
_NOISE = (
    b"\x0b" * 5000,
    b"\x0a\xff\xff\xff\xff\x07",
    b"\xff" * 40,
    b"\x02\x00",
    b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
)
