"""CURIEs and IRIs, both ways; and literals."""

from __future__ import annotations

import pytest

from connectors.errors import SourceDataError, SourceSettingsError
from connectors.namespaces import WIKIDATA, Namespaces
from connectors.values import literal


def test_names_go_both_ways_and_the_longest_namespace_wins() -> None:
    names = Namespaces({**WIKIDATA, "demo": "https://demo.kbsync.example/entity/"})
    for curie in ("wd:Q30", "wds:Q30-AB", "wdt:P6", "demo:Q1"):
        assert names.compact(names.expand(curie)) == curie
    assert names.expand("wds:Q30-AB") == "http://www.wikidata.org/entity/statement/Q30-AB"
    assert names.compact("https://elsewhere.example/x") == "https://elsewhere.example/x"
    assert names.expand("https://elsewhere.example/x") == "https://elsewhere.example/x"


@pytest.mark.parametrize("curie", ["wd:Q1> . } DROP ALL #", "wd:Q 1", "wd:a\\b", "nope:Q1", "Q1", 'wd:"'])
def test_nothing_can_be_smuggled_into_a_query(curie: str) -> None:
    with pytest.raises(SourceDataError):
        Namespaces(WIKIDATA).expand(curie)


def test_a_prefix_must_be_an_iri() -> None:
    with pytest.raises(SourceSettingsError, match=r"prefixes\.crm"):
        Namespaces({"crm": "not an iri"})


def test_a_literal_is_its_own_label() -> None:
    assert (literal("42").id, literal("42").label) == ("lit:42", "42")
