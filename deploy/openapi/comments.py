"""What the protos say of each message, field, value and method, in the comments before it and behind it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

Described = Descriptor | EnumDescriptor | EnumValueDescriptor | FieldDescriptor | ServiceDescriptor | MethodDescriptor
#: Where a thing stands in its file: numbers of fields of descriptor.proto, and of the thing among its kind, in turns.
Place = tuple[int, ...]

MESSAGE, ENUM, SERVICE = 4, 5, 6
NESTED, NESTED_ENUM = 3, 4
#: A message's fields, an enum's values, a service's methods.
MEMBER = 2


class Comments:
    """Comments of files whose descriptors have source info."""

    def __init__(self, files: Iterable[FileDescriptorProto]):
        self._texts: dict[str, str] = {}
        for file in files:
            located = file.source_code_info.location
            self._file(file, {tuple(one.path): one.leading_comments + one.trailing_comments for one in located})

    def of(self, described: Described) -> str:
        """The comment of a thing, an empty line between paragraphs; empty where there is none."""
        if isinstance(described, EnumValueDescriptor):
            return self._texts.get(f"{described.type.full_name}.{described.name}", "")
        return self._texts.get(described.full_name, "")

    def _file(self, file: FileDescriptorProto, found: Mapping[Place, str]) -> None:
        for number, message in enumerate(file.message_type):
            self._message(f"{file.package}.{message.name}", message, (MESSAGE, number), found)
        for number, enum in enumerate(file.enum_type):
            self._note(f"{file.package}.{enum.name}", [value.name for value in enum.value], (ENUM, number), found)
        for number, service in enumerate(file.service):
            methods = [method.name for method in service.method]
            self._note(f"{file.package}.{service.name}", methods, (SERVICE, number), found)

    def _message(self, name: str, message: DescriptorProto, place: Place, found: Mapping[Place, str]) -> None:
        self._note(name, [field.name for field in message.field], place, found)
        for number, nested in enumerate(message.nested_type):
            self._message(f"{name}.{nested.name}", nested, (*place, NESTED, number), found)
        for number, enum in enumerate(message.enum_type):
            values = [value.name for value in enum.value]
            self._note(f"{name}.{enum.name}", values, (*place, NESTED_ENUM, number), found)

    def _note(self, name: str, members: Sequence[str], place: Place, found: Mapping[Place, str]) -> None:
        self._texts[name] = _text(found.get(place, ""))
        for number, member in enumerate(members):
            self._texts[f"{name}.{member}"] = _text(found.get((*place, MEMBER, number), ""))


def _text(comment: str) -> str:
    lines = "\n".join(line.strip() for line in comment.strip().splitlines())
    return "\n\n".join(re.sub(r"\s+", " ", paragraph) for paragraph in re.split(r"\n{2,}", lines))
