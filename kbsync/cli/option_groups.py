"""Groups of options: a dataclass stands for the options that are its fields.

Commands that share options take one parameter for all of them, and pass it on as one value:

    @dataclass(frozen=True, slots=True)
    class Paging:
        after: Annotated[int, typer.Option(help="…")] = 0
        limit: Annotated[int, typer.Option(help="…")] = 100

    @grouped
    def facts(context: typer.Context, page: Paging) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer reads it: with the fields of each group in place of the group."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    parameters = [
        option
        for name, parameter in signature.parameters.items()
        for option in (_options(groups[name]) if name in groups else (parameter,))
    ]
    run.__signature__ = signature.replace(parameters=_keywords(parameters))  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in parameters}
    return run


def _options(group: type[Any]) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[field.name]
        )


def _default(field: Field[Any]) -> Any:
    return Parameter.empty if field.default is MISSING else field.default


def _keywords(parameters: list[Parameter]) -> list[Parameter]:
    """All by name, so that one without a default may follow one that has a default."""
    return [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
