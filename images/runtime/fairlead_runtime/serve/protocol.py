"""Message classes of `inference.proto`, made when a server starts: no generated code, and no compiler to build with.

Reads as much of the language as that file uses: messages, nested messages, repeated, map and oneof. Called by `grpc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = Path(__file__).with_name("inference.proto")
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {name[5:].lower(): number for name, number in _FIELD.Type.items()}
_PACKAGE = "inference"


def load_messages(text: str) -> dict[str, Any]:
    """Return the top-level message classes by name; their parsing is protobuf's own."""
    file = descriptor_pb2.FileDescriptorProto(name="fairlead/inference.proto", package=_PACKAGE, syntax="proto3")
    tokens = iter(re.findall(r'"[^"]*"|[\w.]+|[{}()<>,;=]', re.sub(r"//.*", "", text)))
    for token in tokens:
        if token == "message":
            _message(tokens, file.message_type.add(name=next(tokens)), f".{_PACKAGE}")
        elif token == "service":
            _skip(tokens)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _skip(tokens: Iterator[str]) -> None:
    depth = 0
    for token in tokens:
        depth += (token == "{") - (token == "}")
        if token == "}" and not depth:
            return


def _message(tokens: Iterator[str], message: Any, outer: str) -> None:
    full = f"{outer}.{message.name}"
    next(tokens)  # {
    for token in tokens:
        if token == "}":
            return
        if token == "message":
            _message(tokens, message.nested_type.add(name=next(tokens)), full)
        elif token == "oneof":
            message.oneof_decl.add(name=next(tokens))
            next(tokens)
            for kind in iter(lambda: next(tokens), "}"):
                _field(tokens, message, kind, full).oneof_index = 0
        elif token == "map":
            _map(tokens, message, full)
        else:
            repeated = token == "repeated"
            field = _field(tokens, message, next(tokens) if repeated else token, full)
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL


def _field(tokens: Iterator[str], message: Any, kind: str, full: str) -> Any:
    """Read `name = number;` and return the field."""
    name, _, number, _ = (next(tokens) for _ in range(4))
    field = message.field.add(name=name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
    _set_type(field, kind, message, full)
    return field


def _set_type(field: Any, kind: str, message: Any, full: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    nested = any(own.name == kind for own in message.nested_type)
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{full}.{kind}" if nested else f".{_PACKAGE}.{kind}"


def _map(tokens: Iterator[str], message: Any, full: str) -> None:
    """Read `<key, value> name = number;`: on the wire, repeated entries of key and value."""
    _, key, _, value, _, name, _, number, _ = (next(tokens) for _ in range(9))
    entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    for position, (part, kind) in enumerate((("key", key), ("value", value)), 1):
        own = entry.field.add(name=part, number=position, label=_FIELD.LABEL_OPTIONAL)
        _set_type(own, kind, entry, full)
    field = message.field.add(name=name, number=int(number), label=_FIELD.LABEL_REPEATED)
    field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{full}.{entry.name}"
