"""Messages as JSON objects: the same fields by their names, made from the types of the messages.

A message travels as an array, whose reader must know the order. Its object form is a struct of the same fields without
the id, so that whatever a message can say is checked here as strictly as there, and a new message or field needs no
work.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from presenced.wire.messages import Message

Form = type[msgspec.Struct]
Fields = Mapping[str, tuple[Any, Any]]
"""Type and default of fields by name; the default `msgspec.NODEFAULT` = the field is required."""


class Forms:
    """The object forms of the messages that were asked for, each made once."""

    def __init__(self) -> None:
        self.of_request: dict[type[Message], Form] = {}
        """The values inside of requests: what is not known is refused, and a default may be left out."""
        self._of_reply: dict[type[Message], Form] = {}

    def request(self, message: type[Message], *, without: frozenset[str], instead: Fields) -> Form:
        """The object that asks for this message: its fields but those `without`, some with another type or default."""
        fields = []
        for field in msgspec.structs.fields(message):
            if field.name in without:
                continue
            kind, default = instead.get(field.name, (self._nested(field.type, self._inside_request), _default(field)))
            fields.append(_field(field.name, kind, default))
        return msgspec.defstruct(
            message.__name__,
            fields,
            kw_only=True,
            forbid_unknown_fields=True,
            module=__name__,
            namespace=_attributes(message),
        )

    def reply(self, message: type[Message]) -> Form:
        """The object that tells this message: all of its fields but the id."""
        form = self._of_reply.get(message)
        if form is None:
            fields = [
                (field.name, self._nested(field.type, self._inside_reply))
                for field in msgspec.structs.fields(message)
                if field.name != "id"
            ]
            form = self._of_reply[message] = _named(message, fields)
        return form

    def _inside_request(self, message: type[Message]) -> Form:
        form = self.of_request.get(message)
        if form is None:
            fields = [
                _field(field.name, self._nested(field.type, self._inside_request), _default(field))
                for field in msgspec.structs.fields(message)
            ]
            form = self.of_request[message] = _named(message, fields, forbid_unknown_fields=True)
        return form

    def _inside_reply(self, message: type[Message]) -> Form:
        # What a request can say as well, such as a window of a schedule, is one thing with one name.
        return self.of_request.get(message) or self.reply(message)

    def _nested(self, kind: Any, form_of: Callable[[type[Message]], Form]) -> Any:
        """The type of a field with the forms in the place of the messages inside of it."""
        origin = get_origin(kind)
        if origin is Annotated:
            inner, *notes = get_args(kind)
            return Annotated[(self._nested(inner, form_of), *notes)]
        if origin is list:
            return list[self._nested(get_args(kind)[0], form_of)]  # type: ignore[misc]
        if origin in (Union, types.UnionType):
            return Union[tuple(self._nested(part, form_of) for part in get_args(kind))]  # noqa: UP007
        if isinstance(kind, type) and issubclass(kind, Message):
            return form_of(kind)
        return kind


def to_message(value: Any) -> Any:
    """What a field of a request's form holds, as the message has it: the structs inside are messages again. O(1) unless
    there are some."""
    if type(value) is list and value and isinstance(value[0], msgspec.Struct):
        of_message = type(value[0]).of_message  # type: ignore[attr-defined]
        return [of_message(*msgspec.structs.astuple(one)) for one in value]
    return value


def has_values(kind: Any) -> bool:
    """Whether a field of this type holds structs, such as the windows of a schedule."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return True
    return any(map(has_values, get_args(kind)))


def _named(message: type[Message], fields: list[Any], *, forbid_unknown_fields: bool = False) -> Form:
    return msgspec.defstruct(
        message.__name__,
        fields,
        kw_only=True,
        forbid_unknown_fields=forbid_unknown_fields,
        module=__name__,
        namespace=_attributes(message),
    )


def _attributes(message: type[Message]) -> dict[str, Any]:
    return {"__doc__": message.__doc__, "of_message": message}


def _field(name: str, kind: Any, default: Any) -> Any:
    if default is msgspec.NODEFAULT:
        return name, kind
    return name, kind, msgspec.field(default_factory=list) if default == [] else default


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        return msgspec.NODEFAULT
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
