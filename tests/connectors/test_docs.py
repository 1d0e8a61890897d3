"""docs/connectors.md knows every kind and every setting, and shows settings that are right."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

import connectors
from connectors.cypher import Neo4jSettings
from connectors.files import FilesSettings
from connectors.kafka import KafkaSettings
from connectors.registry import connect, kinds
from connectors.rows.mapping import FIELDS
from connectors.sparql import SparqlSettings
from connectors.sql import SqlSettings
from connectors.wikidata.settings import PropertyIds, WikidataSettings
from connectors.wikidata.stream import StreamSettings
from tests.support.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "connectors.md").read_text(encoding="utf-8")
KINDS: dict[str, type[BaseModel]] = {
    "files": FilesSettings,
    "kafka": KafkaSettings,
    "neo4j": Neo4jSettings,
    "sparql": SparqlSettings,
    "sql": SqlSettings,
    "wikidata": WikidataSettings,
    "wikidata-stream": StreamSettings,
}
EXAMPLES = re.findall(r"```toml\n(\[sources.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_documented(kind: str) -> None:
    assert set(KINDS) == set(kinds())
    names = {*KINDS[kind].model_fields, *FIELDS, *PropertyIds.model_fields} - {"kind"}
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_accepted(example: str, tmp_path: Path) -> None:
    for name, settings in tomllib.loads(example)["sources"].items():
        connect(name, settings, directory=tmp_path).close()


def test_there_is_an_example_of_every_kind_but_the_stream() -> None:
    shown = {settings["kind"] for text in EXAMPLES for settings in tomllib.loads(text)["sources"].values()}
    assert shown == set(KINDS) - {"wikidata-stream"}


def test_every_public_name_is_there_and_documented() -> None:
    for name in connectors.__all__:
        assert getattr(connectors, name).__doc__, name


def test_the_plain_types_cost_no_http_library() -> None:
    heavy = ("httpx", "SPARQLWrapper", "pydantic", "sqlalchemy", "pyoxigraph")
    code = f"import sys, connectors.observations; print([n for n in {heavy} if n in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
