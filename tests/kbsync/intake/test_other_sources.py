"""Another knowledge graph and another model, by settings alone: a Llama, and a SPARQL server of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kbsync.demo.server import serving
from tests.support.micro import make
from tests.support.tiny_models import llama, save

LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
QUERY = (
    "PREFIX x: <https://x.example/> PREFIX r: <http://www.w3.org/2000/01/rdf-schema#> "
    "SELECT ?subject ?relation ?object ?subject_label ?object_label WHERE { ?subject x:owner ?object . "
    "BIND(x:owner AS ?relation) ?subject r:label ?subject_label . ?object r:label ?object_label }"
)


def triples(subject: str, owner: str) -> str:
    return (
        f"<https://x.example/{subject}> <https://x.example/owner> <https://x.example/{owner}> .\n"
        f'<https://x.example/{subject}> {LABEL} "{subject.title()}" .\n'
        f'<https://x.example/{owner}> {LABEL} "{owner.title()}" .\n'
    )


@pytest.mark.slow
def test_a_llama_follows_another_sparql_server(tmp_path: Path) -> None:
    micro = make(tmp_path)
    shutil.rmtree(tmp_path / "model")
    save(llama(), tmp_path / "model")
    text = micro.home.config.read_text()
    start, end = text.index("[sources.crm]"), text.index("[relations")
    with serving() as server:
        server.load(triples("tower", "anna") + triples("bridge", "bob"))
        source = (
            f"[sources.kg]\nkind = 'sparql'\nendpoint = '{server.query_url}'\nagent = 'test (https://x.example)'\n"
            f"query = '{QUERY}'\nprefixes = {{ crm = 'https://x.example/' }}\n\n"
        )
        micro.home.config.write_text(text[:start] + source + text[end:])
        assert [run.state for run in micro.sync().runs] == ["deployed"]
        assert micro.sync().runs == ()
