"""The shape of the house: small files, small functions, short parameter lists, one home for each folder.

The arrows between folders are import-linter's (`make check`); here is what it cannot see.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.paths import REPOSITORY

PACKAGES = ("kbsync", "connectors", "editing", "state")
LINES = 350
SCREEN = 50
PARAMETERS = 7

MODULES = sorted(
    file
    for package in PACKAGES
    for file in (REPOSITORY / package).rglob("*.py")
    if "versions" not in file.parts  # a migration is a record of what was done
)


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_is_too_long_to_read_in_one_sitting() -> None:
    long = {
        str(file.relative_to(REPOSITORY)): count
        for file in MODULES
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long == {}


def test_every_function_fits_on_a_screen() -> None:
    long = {
        f"{file.relative_to(REPOSITORY)}:{node.name}": count
        for file in MODULES
        for node in functions(file)
        if (count := (node.end_lineno or node.lineno) - node.lineno + 1) > SCREEN
    }
    assert long == {}


def test_no_parameter_list_is_longer_than_seven() -> None:
    """Commands with more options take them in groups (`kbsync.cli.option_groups`)."""
    long = {}
    for file in MODULES:
        for node in functions(file):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > PARAMETERS:
                long[f"{file.relative_to(REPOSITORY)}:{node.name}"] = count
    assert long == {}


ALSO_AT_THE_BORDER = frozenset({"BaseAnswer"})
"""Values that `kbsync` translates from one package to another, which both call by one name."""


def test_no_two_classes_share_a_name() -> None:
    """One word, one meaning: a reader who knows the class of one module is not misled by another's."""
    homes: dict[str, list[str]] = {}
    for file in MODULES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(file.relative_to(REPOSITORY)))
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    assert shared.keys() - ALSO_AT_THE_BORDER == set(), shared


def imported(file: Path) -> set[str]:
    """Modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def test_no_test_imports_another_test() -> None:
    guilty = {
        str(file.relative_to(REPOSITORY)): name
        for file in (REPOSITORY / "tests").rglob("*.py")
        for name in imported(file)
        if re.match(r"tests\.(?!support\b)", name)
    }
    assert guilty == {}


def test_no_property_is_judged_by_the_time_that_an_example_takes() -> None:
    assert settings().deadline is None, "tests/conftest.py sets the profile"


def test_every_folder_has_one_sentence_and_the_page_of_the_architecture_names_it() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package in PACKAGES:
        for init in sorted((REPOSITORY / package).rglob("__init__.py")):
            folder = str(init.parent.relative_to(REPOSITORY))
            if folder.count("/") > 1 or "migrations" in folder:
                continue
            assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{folder} has no sentence"
            assert f"`{folder}`" in page, f"docs/architecture.md does not say what {folder} is for"


def test_the_table_of_folders_has_a_place_for_every_example_of_a_change() -> None:
    layout = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(
        r"^\| ([^|]+) \| `([a-z/]+)` \|$", page.partition("**Where does it go?**")[2], re.MULTILINE
    )
    assert len(examples) >= 10
    folders = set(re.findall(r"^\| `([a-z/]+)` \|", layout, re.MULTILINE))
    assert [change for change, folder in examples if folder not in folders] == []


def test_the_table_of_folders_names_every_module_that_the_folders_of_kbsync_share() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `kbsync` \|.*$", page, re.MULTILINE)
    shared = {file.stem for file in (REPOSITORY / "kbsync").glob("*.py")} - {"__init__", "__main__"}
    assert [name for name in sorted(shared) if f"`{name}`" not in row] == []


CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]


def wrong_imports() -> Iterator[tuple[str, str]]:
    """(module, what it must not import) for each layer of each contract, and for each forbidden list."""
    for contract in CONTRACTS["contracts"]:
        if contract["type"] == "forbidden":
            yield contract["source_modules"][0], contract["forbidden_modules"][0]
            continue
        for container in contract.get("containers", [""]):
            layers = [
                [".".join(filter(None, (container, name.strip()))) for name in re.split("[|:]", layer)]
                for layer in contract["layers"]
            ]
            for above, below in pairwise(layers):
                yield below[0], above[0]


WRONG_IMPORTS = sorted(set(wrong_imports()))


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says about a copy of the packages in which every rule is broken once."""
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    for lower, upper in WRONG_IMPORTS:
        target = copy.joinpath(*lower.split("."))
        file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
        with file.open("a", encoding="utf-8") as source:
            source.write(f"\nimport {upper}  # wrong\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=copy,
        env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin", "COLUMNS": "500"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("lower", "upper"), WRONG_IMPORTS)
def test_a_wrong_import_in_any_layer_fails_the_check(lower: str, upper: str, complaints: str) -> None:
    assert re.search(rf"\b{re.escape(lower)} -> {re.escape(upper)} ", complaints), complaints
