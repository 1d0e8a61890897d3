"""Every kind keeps the contract of `connectors.conformance`; so does a package of somebody else's."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.conformance import PROMISES, Facts, NonConformance, Scenario, check
from connectors.errors import SourceSettingsError
from connectors.observations import Connector, Poll, SlotKey
from connectors.registry import connect, kinds
from tests.support.crm_scenario import CrmScenario
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.wikibase_world import Claim, World


class WikidataScenario:
    rereads = True

    def __init__(self, server: SparqlServer) -> None:
        self._server = server
        self._world = World()
        for n in (1, 2, 3):
            self._world.add(f"Q{n}", f"Leader {n}")
        for n in range(6):
            self._world.add(f"Q{100 + n}", f"Country {n}")

    def open(self) -> Connector:
        settings = {
            "kind": "wikidata",
            "endpoint": self._server.endpoint,
            "agent": AGENT,
            "subjects": [subject for subject, _ in self.slots(6)],
            "relations": ["wdt:P6"],
            "slots_per_step": 1,
        }
        return connect("wd", settings)

    def write(self, facts: Facts) -> None:
        for (subject, _), objects in facts.items():
            item = self._world.touch(subject.removeprefix("wd:"))
            item.claims["P6"] = [Claim(f"{item.id}-{o[3:]}", o.removeprefix("wd:")) for o in sorted(objects)]
        self._server.serve(self._world)

    def slots(self, count: int) -> list[SlotKey]:
        return [(f"wd:Q{100 + n}", "wdt:P6") for n in range(count)]

    def objects(self) -> tuple[str, str, str]:
        return "wd:Q1", "wd:Q2", "wd:Q3"


class SparqlScenario(CrmScenario):
    def __init__(self, server: SparqlServer) -> None:
        super().__init__()
        self._server = server

    def open(self) -> Connector:
        settings = {
            "kind": "sparql",
            "endpoint": self._server.endpoint,
            "agent": AGENT,
            "prefixes": {"crm": "https://crm.example/"},
            "relation": "crm:owner",
            "query": "SELECT ?subject ?object WHERE { ?subject <https://crm.example/owner> ?object }",
            "slots_per_step": 2,
        }
        return connect("crm", settings)

    def store(self, facts: Facts) -> None:
        lines = [
            f'<https://crm.example/{subject[4:]}> <https://crm.example/owner> "{object_[4:]}" .'
            for (subject, _), objects in self.held.items()
            for object_ in objects
        ]
        self._server.serve("\n".join(lines))


class SqlScenario(CrmScenario):
    def __init__(self, folder: Path, **mode: Any) -> None:
        super().__init__()
        self._url = f"sqlite:///{folder}/crm.db"
        self._mode = mode
        self._engine = sa.create_engine(self._url)
        self._now = datetime(2024, 1, 1, tzinfo=UTC)
        self._run("CREATE TABLE accounts (id TEXT PRIMARY KEY, subject TEXT, object TEXT, changed TEXT)")

    def _run(self, *statements: str) -> None:
        with self._engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def open(self) -> Connector:
        settings = {"kind": "sql", "url": self._url, "table": "accounts", "namespace": "crm"}
        own = {"relation": "crm:owner", "slots_per_step": 2, "rows_per_request": 2}
        return connect("crm", {**settings, **own, **self._mode})

    def store(self, facts: Facts) -> None:
        for (subject, _), objects in facts.items():
            self._now += timedelta(seconds=1)
            id = subject[4:]
            rows = [(f"{id}-{o}", f"'{o[4:]}'") for o in sorted(objects)] or [(f"{id}-none", "NULL")]
            self._run(
                f"DELETE FROM accounts WHERE subject = '{id}'",
                *(
                    f"INSERT INTO accounts VALUES ('{key}', '{id}', {text}, '{self._now.isoformat()}')"
                    for key, text in rows
                ),
            )


class FilesScenario(CrmScenario):
    rereads = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder / "drop"
        self._folder.mkdir()
        self._count = 0

    def open(self) -> Connector:
        settings = {"kind": "files", "folder": str(self._folder), "namespace": "crm", "slots_per_step": 2}
        return connect("crm", settings)

    def store(self, facts: Facts) -> None:
        self._count += 1
        rows = [
            {"subject": subject, "relation": relation, "object": object_ and object_[4:]}
            for (subject, relation), objects in facts.items()
            for object_ in sorted(objects) or [None]
        ]
        path = self._folder / f"{self._count:04}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))


KEYSET = {"mode": "keyset", "updated_at": "changed", "key": "id"}
SCENARIOS: dict[str, Callable[[SparqlServer, Path], Scenario]] = {
    "wikidata": lambda server, _: WikidataScenario(server),
    "sparql": lambda server, _: SparqlScenario(server),
    "sql, diff": lambda _, folder: SqlScenario(folder),
    "sql, keyset": lambda _, folder: SqlScenario(folder, **KEYSET),
    "files": lambda _, folder: FilesScenario(folder),
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", SCENARIOS)
def test_every_kind_keeps_every_promise(
    oxigraph: SparqlServer, tmp_path: Path, kind: str, promise: Callable[[Scenario], None]
) -> None:
    scenario = SCENARIOS[kind](oxigraph, tmp_path)
    scenario.write({slot: frozenset({scenario.objects()[0]}) for slot in scenario.slots(6)})
    promise(scenario)


class ForgetfulConnector:
    """Breaks the contract: it takes what it has told for committed."""

    def __init__(self, connector: Connector, told: list[str | None]) -> None:
        self._connector = connector
        self._told = told
        self.name = connector.name

    def poll(self, cursor: str | None) -> Any:
        for step in self._connector.poll(self._told[0]):
            self._told[0] = step.cursor or self._told[0]
            yield Poll(step.observations, step.cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)


def test_a_connector_that_consumes_what_it_tells_is_found_out(tmp_path: Path) -> None:
    told: list[str | None] = [None]

    class Forgetful(SqlScenario):
        def open(self) -> Connector:
            connector: Any = ForgetfulConnector(super().open(), told)
            return connector  # type: ignore[no-any-return]

    with pytest.raises(NonConformance):
        check(Forgetful(tmp_path))


class RegistryScenario:
    rereads = True

    def __init__(self, file: Path) -> None:
        self._file = file
        self._entries: dict[SlotKey, dict[str, Any]] = {}
        self._revision = 0
        self.write({})

    def open(self) -> Connector:
        settings = {"kind": "acme-registry", "file": self._file.name}
        return connect("acme", settings, directory=self._file.parent)

    def write(self, facts: Facts) -> None:
        for slot, objects in facts.items():
            self._revision += 1
            entry = {"subject": slot[0], "relation": slot[1], "objects": sorted(objects)}
            self._entries[slot] = {**entry, "revision": self._revision}
        self._file.write_text(json.dumps({"entries": list(self._entries.values())}))

    def slots(self, count: int) -> list[SlotKey]:
        return [(f"acme:{n}", "acme:boss") for n in range(count)]

    def objects(self) -> tuple[str, str, str]:
        return "acme:x", "acme:y", "acme:z"


@pytest.fixture
def sample_package(tmp_path: Path) -> Path:
    """The sample package installed in a folder of its own: its module, and metadata as installers write it."""
    source, target = Path(__file__).parent / "sample_package", tmp_path / "site"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    metadata = target / "acme_registry_connector-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(source / "acme_registry_connector.py", target)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(points))
    return target


def test_a_package_of_somebody_elses_adds_a_kind_and_conforms(
    sample_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(sample_package))
    assert "acme-registry" in kinds()
    check(RegistryScenario(tmp_path / "registry.json"))
    with pytest.raises(SourceSettingsError, match=r"sources\.acme\.file: is required"):
        connect("acme", {"kind": "acme-registry"})
