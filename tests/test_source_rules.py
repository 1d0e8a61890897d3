"""Rules that no linter knows: what once let a source hurt us is not written again.

Each rule looks at the syntax of our packages and names the line.  A rule's exceptions are listed with it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

PACKAGES = ("connectors", "editing", "kbsync", "state")
Rule = Callable[[ast.AST], str | None]
"""What is wrong with a node; None if nothing is."""


def source_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


@functools.cache
def nodes(text: str) -> tuple[ast.AST, ...]:
    """All nodes of a module, each with its `parent`: every rule looks at every module, which is parsed once."""
    found = tuple(ast.walk(ast.parse(text)))
    for parent in found:
        for child in ast.iter_child_nodes(parent):
            child.parent = parent  # type: ignore[attr-defined]
    return found


def violations(rule: Rule, text: str) -> Iterator[tuple[int, str]]:
    for node in nodes(text):
        if (wrong := rule(node)) is not None:
            yield getattr(node, "lineno", 0), wrong


def called(node: ast.AST) -> str | None:
    """The last name of what a call calls."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def caught(node: ast.expr) -> bool:
    """Whether an expression is an error: called so, or caught by a handler around it."""
    if isinstance(node, ast.Name) and node.id == "error":
        return True
    around: ast.AST | None = node
    while around is not None:
        if isinstance(around, ast.ExceptHandler) and isinstance(node, ast.Name) and around.name == node.id:
            return True
        around = getattr(around, "parent", None)
    return False


def writes_where_others_write(node: ast.AST) -> str | None:
    """Connectors read folders that others write to: a predictable name there may be a link."""
    name = called(node)
    if name in ("write_text", "write_bytes", "touch", "symlink_to"):
        return f"{name}() follows links; write through connectors.rows.drop_folder"
    if name == "open" and isinstance(node, ast.Call):
        modes = [argument.value for argument in ast.walk(node) if isinstance(argument, ast.Constant)]
        if any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) <= 3 for mode in modes):
            return "open() for writing follows links; write through connectors.rows.drop_folder"
    return None


def trusts_unicode_digits(node: ast.AST) -> str | None:
    """`²`.isdigit() and `٣`.isdecimal() are true, and int() fails on the one and takes the other."""
    if called(node) not in ("isdigit", "isdecimal", "isnumeric"):
        return None
    around = getattr(node, "parent", None)
    if isinstance(around, ast.BoolOp) and "isascii" in map(called, around.values):
        return None
    return "digits of any script; use connectors.border.whole_number, or ask isascii() as well"


def reads_numbers_past_the_border(node: ast.AST) -> str | None:
    """int() takes signs, spaces, underscores, digits of any script, and as many as there are."""
    if called(node) != "int" or not isinstance(node, ast.Call) or not node.args:
        return None
    if isinstance(node.args[0], ast.BinOp) or called(node.args[0]) in ("timestamp", "round"):
        return None  # arithmetic has been done with it: it is a number
    return "text from outside becomes a number in connectors.border"


def decodes_past_the_border(node: ast.AST) -> str | None:
    """json.loads raises RecursionError, and keeps what no database stores."""
    if called(node) not in ("loads", "load") or not isinstance(node, ast.Call):
        return None
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and owner.id in ("json", "pickle", "yaml"):
        return f"use connectors.border.decode_json, not {owner.id}"
    return None


def makes_text_of_cells(node: ast.AST) -> str | None:
    """str() of a cell makes `b'1'`, `42.0` and `nan` of what is an id or a label."""
    if called(node) not in ("str", "repr") or not isinstance(node, ast.Call) or len(node.args) != 1:
        return None
    return None if caught(node.args[0]) else "cells become text in connectors.border.text_of"


def runs_code_of_models(node: ast.AST) -> str | None:
    if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
        return None if isinstance(node.value, ast.Constant) and node.value.value is False else "must be False"
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "trust_remote_code":
                return None if isinstance(value, ast.Constant) and value.value is False else "must be False"
    return None


def follows_redirects(node: ast.AST) -> str | None:
    """A redirect carries credentials to another host, and its answer into our facts."""
    if isinstance(node, ast.keyword) and node.arg in ("follow_redirects", "allow_redirects"):
        follows = not (isinstance(node.value, ast.Constant) and node.value.value is False)
        return f"{node.arg} must be False; connectors.http decides about redirects" if follows else None
    if called(node) == "urlopen":
        return "urlopen() follows redirects, to any scheme; use connectors.http"
    if isinstance(node, ast.Import) and any(alias.name == "requests" for alias in node.names):
        return "requests follows redirects by itself; use httpx"
    return None


RULES: dict[str, tuple[Rule, list[Path], frozenset[str]]] = {
    "writing": (
        writes_where_others_write,
        source_files("connectors"),
        frozenset({"connectors/rows/drop_folder.py"}),
    ),
    "digits": (trusts_unicode_digits, source_files(*PACKAGES), frozenset()),
    "numbers": (
        reads_numbers_past_the_border,
        source_files("connectors"),
        # A regular expression of ASCII digits has matched, or a type of the database is known.
        frozenset({"connectors/border.py", "connectors/dates.py", "connectors/rows/sql_values.py"}),
    ),
    "decoding": (decodes_past_the_border, source_files("connectors"), frozenset({"connectors/border.py"})),
    # A decimal and a UUID cross from one process to the other as themselves.
    "cells": (
        makes_text_of_cells,
        source_files("connectors/rows"),
        frozenset({"connectors/rows/row_lines.py"}),
    ),
    "models": (runs_code_of_models, source_files(*PACKAGES), frozenset()),
    "redirects": (follows_redirects, source_files(*PACKAGES), frozenset()),
}
WRONG = {
    "writing": ["open(p, 'w')", "p.open('a')", "open(p, mode='r+')", "p.write_text(x)", "p.write_bytes(x)"],
    "digits": ["x.isdigit()", "x.isdecimal() and y", "not x.isnumeric()"],
    "numbers": ["int(x)", "int(row['n'])", "int(x or 0)"],
    "decoding": ["json.loads(x)", "pickle.load(f)"],
    "cells": ["str(value)", "str(row[name])", "[str(v) for v in row]", "repr(cell)"],
    "models": ["f(trust_remote_code=True)", "f(trust_remote_code=flag)", "{'trust_remote_code': True}"],
    "redirects": [
        "httpx.Client(follow_redirects=True)",
        "get(u, follow_redirects=x)",
        "urlopen(u)",
        "import requests",
    ],
}
RIGHT = {
    "writing": ["open(p)", "p.open('rb')", "p.read_text()"],
    "digits": ["x.isascii() and x.isdecimal()"],
    "numbers": ["int(now.timestamp() * 1e6)", "int(a / b)", "int()"],
    "decoding": ["json.dumps(x)", "decode_json(x, 'y')"],
    "cells": ["try: f()\nexcept E as error: g(str(error))"],
    "models": ["f(trust_remote_code=False)", "{'trust_remote_code': False}"],
    "redirects": ["httpx.Client(follow_redirects=False)", "httpx.Client()"],
}


@pytest.mark.parametrize("name", sorted(RULES))
def test_no_module_breaks_the_rule(name: str) -> None:
    rule, files, exceptions = RULES[name]
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {wrong}"
        for path in files
        if path.relative_to(REPOSITORY).as_posix() not in exceptions
        for line, wrong in violations(rule, path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert all((REPOSITORY / exception).is_file() for exception in exceptions)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_finds_what_it_is_for_and_nothing_else(name: str) -> None:
    rule = RULES[name][0]
    assert [code for code in WRONG[name] if not list(violations(rule, code))] == []
    assert [code for code in RIGHT[name] if list(violations(rule, code))] == []
