"""Decoding JSON into frozen dataclasses, strictly: an error names the place of an unknown key or a wrong type.

Covers the types used at the borders of this package: str, int, float, bool, None, Literal, tuples,
string-keyed dicts, unions with None, and dataclasses of these.  Torch-free.

A value is read by readers that are made once for each type, since a spec or a report has thousands of facts; one that
is not as it should be is read again, item by item, to find the place.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from editing.errors import SpecError

T = TypeVar("T")
Reader = Callable[[Any], Any]


def decode(kind: type[T], value: object, where: str) -> T:
    """Convert `value`, as returned by `json.loads`, to `kind`; raises SpecError naming the offending place."""
    read: Reader = _reader(kind)  # type: ignore[arg-type]  # a class is hashable
    try:
        result: T = read(value)
    except _UnlikeError:
        result = _decode(kind, value, where)
    return result


class _UnlikeError(Exception):
    """A value is not of the type that it is read as."""


@cache
def _reader(kind: Any) -> Reader:
    """What `_decode` does for `kind`, without places; raises _UnlikeError where `_decode` raises SpecError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "from_json"):
        return lambda value: _by_itself(kind, value)
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass_reader(kind)
    if origin is Literal:
        return lambda value: value if value in arguments else _unlike()
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(map(item, value)) if isinstance(value, list) else _unlike()
    if origin is dict:
        entry = _reader(arguments[1])
        return lambda value: (
            {key: entry(item) for key, item in value.items()} if isinstance(value, dict) else _unlike()
        )
    if kind is float:
        return lambda value: float(value) if type(value) in (float, int) else _unlike()
    return lambda value: value if type(value) is kind else _unlike()


def _union_reader(arguments: tuple[Any, ...]) -> Reader:
    words = frozenset(word for a in arguments if get_origin(a) is Literal for word in get_args(a))
    other = _reader(next(a for a in arguments if a is not type(None)))
    none = type(None) in arguments

    def read(value: Any) -> Any:
        if value is None:
            return None if none else _unlike()
        return value if isinstance(value, str) and value in words else other(value)

    return read


def _dataclass_reader(kind: Any) -> Reader:
    readers: dict[str, Reader] = {}
    """By field; made at the first use, since a type may have fields of its own type."""
    required: set[str] = set()

    def read(value: Any) -> Any:
        if not readers:
            known, hints = _fields(kind)
            required.update(name for name, field in known.items() if _is_required(field))
            readers.update({name: _reader(hints[name]) for name in known})
        if not isinstance(value, Mapping) or not required <= value.keys() <= readers.keys():
            _unlike()
        return kind(**{name: readers[name](item) for name, item in value.items()})

    return read


def _by_itself(kind: Any, value: object) -> Any:
    try:
        return kind.from_json(value, "")
    except SpecError as error:
        raise _UnlikeError from error


def _unlike() -> NoReturn:
    raise _UnlikeError


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
    missing = [name for name, field in known.items() if name not in value and _is_required(field)]
    if missing:
        raise SpecError(f"{where}: {missing[0]!r} is missing")
    return kind(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


@cache
def _fields(kind: Any) -> tuple[dict[str, Field[Any]], dict[str, Any]]:
    """The fields of a dataclass and their types, by name; found once, because a spec has thousands of facts."""
    return {field.name: field for field in fields(kind)}, get_type_hints(kind)


def _expect(holds: bool, kind: Any, value: object, where: str) -> object:
    if not holds:
        name = getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
        raise SpecError(f"{where}: expected {name}, found {value!r:.60}")
    return value
