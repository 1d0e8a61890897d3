"""The pages of the documentation: every link leads somewhere, every command that they name exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import click
import pytest
import typer.main

from kbsync.cli.app import app
from tests.support.paths import REPOSITORY

PAGES = sorted(
    [*(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w./-])kbsync((?: +--home [\w./-]+)?(?: +[a-z][a-z-]*)+)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"#{1,6} ", line):
            plain = re.sub(r"[^\w\- ]", "", line.lstrip("# ").strip().lower())
            found.add(plain.replace(" ", "-"))
    return found


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def commands() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        found.add(path)
        for key, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, key))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    known = commands()
    unknown = set()
    text = page.read_text(encoding="utf-8")
    code = re.findall(r"`(kbsync[^`\n]*)`", text) + re.findall(
        r"^(?: {4,}|\$ )(.*kbsync .*)$", text, re.MULTILINE
    )
    for line in code:
        for words in COMMAND.findall(line):
            path = tuple(re.sub(r"--home [\w./-]+", "", words).split())
            if path and path[:1] not in {one[:1] for one in known}:
                unknown.add(path[0])
            elif len(path) > 1 and any(one[:1] == path[:1] and len(one) == 2 for one in known):
                group = {one[1] for one in known if one[:1] == path[:1] and len(one) == 2}
                takes_arguments = path[0] in (
                    "quarantine",
                    "runs",
                    "review",
                    "checkpoints",
                    "sources",
                    "audit",
                )
                if path[1] not in group and not takes_arguments:
                    unknown.add(" ".join(path[:2]))
    assert unknown == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_name_that_an_example_imports_exists(page: Path) -> None:
    lines = re.findall(
        r"^from ((?:kbsync|connectors|editing|state)[\w.]*) import (\([^)]*\)|.+)$",
        "\n".join(
            re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        ),
        re.MULTILINE,
    )
    missing = []
    for module, names in lines:
        (imported,) = ast.parse(f"from {module} import {names}").body
        assert isinstance(imported, ast.ImportFrom)
        found = importlib.import_module(module)
        there = {*dir(found), *getattr(found, "__all__", ())}  # without loading what is imported on use
        missing += [f"{module}.{one.name}" for one in imported.names if one.name not in there]
    assert missing == []


FILES = tuple(
    f"/{file.relative_to(REPOSITORY)}"
    for folder in ("kbsync", "connectors", "editing", "state", "benchmarks", "tests", "docs")
    for file in (REPOSITORY / folder).rglob("*.py")
)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    """Whether it is named in full or by the end of its path."""
    named = re.findall(r"`([\w/-]+\.py)`", page.read_text(encoding="utf-8"))
    assert [one for one in named if not any(file.endswith(f"/{one}") for file in FILES)] == []
