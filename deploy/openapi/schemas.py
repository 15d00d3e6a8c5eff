"""JSON schemas of messages, as protobuf's JSON writes them with the protos' own field names."""

from collections.abc import Collection, Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from deploy.openapi.comments import Comments

Schema = dict[str, Any]

SCALARS: dict[int, Schema] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
}

#: Messages that have a form of their own in JSON.
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.FieldMask": {"type": "string"},
}

BINARY: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


class Schemas:
    """Schemas of messages and enums by name, each made when it is first referred to.

    Attributes:
        components: those that were; by the message's name without its package.
    """

    def __init__(self, comments: Comments, answers: Iterable[Descriptor]):
        """`answers`: messages that are answered; where one of them, or of those that it holds, is asked with as well, the
        latter is a component of its own, PersonInput: there any field may be left out."""
        self.components: dict[str, Schema] = {}
        self._comments = comments
        self._answered: set[str] = set()
        for message in answers:
            self._note(message)

    def of_answer(self, message: Descriptor) -> Schema:
        """Refers to a message in which all fields are present but for messages that are unset."""
        return self._refer(message, answered=True)

    def of_request(self, message: Descriptor, without: Collection[str] = ()) -> Schema:
        """Refers to a message that a client sends, in which any field may be left out.

        Args:
            without: fields that the path or the query has.
        """
        return self._refer(message, answered=False, without=without)

    def of_form(self, message: Descriptor, without: Collection[str] = ()) -> Schema:
        """A form with a part for each field: pictures as files, lists as several parts of one name."""
        properties: dict[str, Schema] = {}
        for field in message.fields:
            if field.name not in without:
                is_file = field.type == FieldDescriptor.TYPE_BYTES or field.message_type
                one = dict(BINARY) if is_file else self._one(field, answered=False)
                properties[field.name] = self._told(field, {"type": "array", "items": one} if _is_list(field) else one)
        return {"type": "object", "properties": properties}

    def of_field(self, field: FieldDescriptor, answered: bool = False) -> Schema:
        """A field's own schema, with its comment."""
        if (entry := field.message_type) and entry.GetOptions().map_entry:
            values = entry.fields_by_name["value"]
            return self._told(field, {"type": "object", "additionalProperties": self._one(values, answered)})
        one = self._one(field, answered)
        return self._told(field, {"type": "array", "items": one} if _is_list(field) else one)

    def _note(self, message: Descriptor) -> None:
        if message.full_name not in self._answered:
            self._answered.add(message.full_name)
            for field in message.fields:
                if field.message_type:
                    self._note(field.message_type)

    def _told(self, field: FieldDescriptor, schema: Schema) -> Schema:
        comment = self._comments.of(field)
        return {**schema, "description": comment} if comment else schema

    def _one(self, field: FieldDescriptor, answered: bool) -> Schema:
        if field.enum_type:
            return self._enum(field.enum_type)
        if field.message_type:
            known = WELL_KNOWN.get(field.message_type.full_name)
            return dict(known) if known else self._refer(field.message_type, answered)
        return dict(SCALARS[field.type])

    def _refer(self, message: Descriptor, answered: bool, without: Collection[str] = ()) -> Schema:
        name = _name(message)
        if not answered and message.full_name in self._answered:
            name = f"{name}Input"
        if name not in self.components:
            self.components[name] = {}  # so that a message may hold itself
            fields = [field for field in message.fields if field.name not in without]
            schema: Schema = {
                "type": "object",
                "properties": {field.name: self.of_field(field, answered) for field in fields},
            }
            if answered and (present := [field.name for field in fields if _is_always_there(field)]):
                schema["required"] = present
            if comment := self._comments.of(message):
                schema["description"] = comment
            self.components[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = _name(enum)
        if name not in self.components:
            told = [(value.name, self._comments.of(value)) for value in enum.values]
            text = "\n".join(f"- {value}: {comment}" for value, comment in told if comment)
            values = [value.name for value in enum.values]
            self.components[name] = {
                "type": "string",
                "enum": values,
                **({"description": text} if text else {}),
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _name(described: Descriptor | EnumDescriptor) -> str:
    """`reco.gateway.v1.PhotoReport.Outcome` is PhotoReport.Outcome."""
    return described.full_name.removeprefix(f"{described.file.package}.")


def _is_list(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated) and not (field.message_type and field.message_type.GetOptions().map_entry)


def _is_always_there(field: FieldDescriptor) -> bool:
    """Envoy writes all fields that are no messages, whatever their values."""
    return bool(field.is_repeated) or (not field.message_type and not field.has_presence)
