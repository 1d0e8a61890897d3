"""Decoding JSON into frozen dataclasses, strictly: an error names the place of an unknown key or a wrong type.

Covers the types used at the borders of this package: str, int, float, bool, None, Literal, tuples,
string-keyed dicts, unions with None, and dataclasses of these.  Torch-free.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from editing.errors import SpecError

T = TypeVar("T")


def decode(kind: type[T], value: object, where: str) -> T:
    """Convert `value`, as returned by `json.loads`, to `kind`; raises SpecError naming the offending place."""
    result: T = _decode(kind, value, where)
    return result


def _decode(kind: Any, value: object, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "from_json"):  # a type whose JSON has a shape of its own
        return kind.from_json(value, where)
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass(kind, value, where)
    if origin is Literal:
        if value not in arguments:
            raise SpecError(f"{where}: {value!r} is not one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        if value is None:
            return _expect(type(None) in arguments, kind, value, where)
        words = [word for a in arguments if get_origin(a) is Literal for word in get_args(a)]
        if isinstance(value, str) and value in words:
            return value
        return _decode(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        items: Any = _expect(isinstance(value, list), kind, value, where)
        return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        entries: Any = _expect(isinstance(value, dict), kind, value, where)
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in entries.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _expect(type(value) is kind, kind, value, where)


def _dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: expected an object, found {value!r:.60}")
    known, hints = _fields(kind)
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise SpecError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    missing = [
        name
        for name, field in known.items()
        if name not in value and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise SpecError(f"{where}: {missing[0]!r} is missing")
    return kind(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


@cache
def _fields(kind: Any) -> tuple[dict[str, Field[Any]], dict[str, Any]]:
    """The fields of a dataclass and their types, by name; found once, because a spec has thousands of facts."""
    return {field.name: field for field in fields(kind)}, get_type_hints(kind)


def _expect(holds: bool, kind: Any, value: object, where: str) -> object:
    if not holds:
        name = getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
        raise SpecError(f"{where}: expected {name}, found {value!r:.60}")
    return value
