"""The bill of materials says what a version was made of, as CycloneDX's own schema wants it, and always the same."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from editing.durable import sha256_of
from kbsync.signing import bom
from kbsync.signing.bom import GateValue, Materials, SourceUse, Tensor
from kbsync.signing.materials import licence_of
from tests.support.micro import Micro
from tests.support.signed import kbsync

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
D = "0123456789abcdef" * 4
MADE = Materials(
    checkpoint=3,
    run=7,
    name="7-1",
    digest=D,
    view=D,
    created=datetime(2026, 5, 1, 12, tzinfo=UTC),
    base=D,
    base_name="gpt2",
    base_licence="MIT",
    base_licence_files={"LICENSE": D},
    architecture="GPT2LMHeadModel",
    model_type="gpt2",
    edited=2,
    known=1,
    sources=[SourceUse("wikidata", "wikidata", "CC0-1.0", 2), SourceUse("crm", "", None, 1)],
    relations={"wdt:P6": 3},
    recipe={"edit": {"layers": [3, 4], "lam": "auto", "lr": None}, "corpus": {"digest": D, "files": ["x"]}},
    settings="abc",
    gates=[GateValue("efficacy", 1.0, 0.9, 0.8, 20, True), GateValue("fluency", None, None, 0.7, 0, False)],
)
TENSORS = [Tensor("h.0.mlp.c_proj.weight", "editable.safetensors", "F32", (4, 8), D, True)]


def valid(content: bytes) -> dict[str, Any]:
    error = VALIDATOR.validate_str(content.decode())
    assert error is None, error
    found: dict[str, Any] = json.loads(content)
    return found


def stated(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in component["properties"]}


@pytest.mark.parametrize("form", ["checkpoint", "delta", "adapter"])
def test_the_bill_says_what_a_version_was_made_of(form: str) -> None:
    bill = valid(bom.document(MADE, form, {"kbsync.json": D}, TENSORS))
    version = bill["metadata"]["component"]
    properties = stated(version)
    assert properties["kbsync:base"] == D
    assert (properties["kbsync:facts:edited"], properties["kbsync:facts:known"]) == ("2", "1")
    assert properties["kbsync:edit:layers"] == "[3, 4]"
    assert "kbsync:edit:lr" not in properties
    assert properties["kbsync:gate:efficacy"] == "passed: 1.0 (judged as 0.9) against 0.8, n = 20"
    assert properties["kbsync:gate:fluency"] == "failed: not measured against 0.7, n = 0"
    assert "2210.07229" in json.dumps(version["externalReferences"])
    by_name = {one["name"]: one for one in bill["components"]}
    assert by_name["gpt2"]["hashes"] == [{"alg": "SHA-256", "content": D}]
    assert by_name["gpt2"]["licenses"][0]["expression"] == "MIT"
    assert by_name["wikidata"]["licenses"][0]["expression"] == "CC0-1.0"
    assert "licenses" not in by_name["crm"]
    assert stated(by_name["corpus"])["kbsync:sha256-of-file-digests"] == D
    (metric,) = version["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert (metric["type"], metric["value"]) == ("efficacy", "1.0")


def test_the_same_version_gives_the_same_bytes_and_another_another_number() -> None:
    once = bom.document(MADE, "checkpoint", {}, TENSORS)
    assert once == bom.document(dataclasses.replace(MADE), "checkpoint", {}, TENSORS)
    other = dataclasses.replace(MADE, created=datetime(2026, 5, 2, tzinfo=UTC))
    again = bom.document(other, "checkpoint", {}, TENSORS)
    changed = [one for one, two in zip(once.splitlines(), again.splitlines(), strict=True) if one != two]
    assert [line.split(b'"')[1] for line in changed] == [b"timestamp", b"serialNumber"]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        dataclasses.replace,
        st.just(MADE),
        base_name=WORDS,
        architecture=WORDS,
        model_type=WORDS,
        relations=st.dictionaries(WORDS, st.integers(0, 9), max_size=2),
        sources=st.lists(
            st.builds(SourceUse, WORDS, WORDS, st.sampled_from([None, "MIT"]), st.integers(0, 9)),
            max_size=2,
            unique_by=lambda one: one.name,
        ),
        gates=st.lists(
            st.builds(
                GateValue,
                WORDS,
                st.none() | st.floats(),
                st.none() | st.floats(),
                st.floats(),
                st.just(1),
                st.booleans(),
            ),
            max_size=2,
        ),
        recipe=st.just({}),
    )
)
def test_whatever_the_names_and_figures_the_schema_holds(made: Materials) -> None:
    valid(bom.document(made, "checkpoint", {"a": D}, TENSORS))


@pytest.mark.parametrize(
    ("settings", "licence"),
    [
        ({"kind": "wikidata", "endpoint": "https://query.wikidata.org/sparql"}, "CC0-1.0"),
        ({"kind": "wikidata-stream", "endpoint": "https://query.wikidata.org/sparql"}, "CC0-1.0"),
        ({"kind": "wikidata", "endpoint": "https://wikibase.example.org/sparql"}, None),
        ({"kind": "wikidata", "endpoint": "https://query.wikidata.org.example.net/"}, None),
        ({"kind": "sparql", "endpoint": "https://query.wikidata.org/sparql"}, None),
        ({"kind": "files", "licence": "CC-BY-4.0"}, "CC-BY-4.0"),
        ({}, None),
    ],
)
def test_the_licence_is_the_stated_one_or_that_of_wikidata(
    settings: dict[str, str], licence: str | None
) -> None:
    assert licence_of(settings) == licence


def test_a_licence_that_is_no_expression_is_a_wrong_setting(template: Micro, tmp_path: object) -> None:
    settings = template.home.config.read_text()
    try:
        for licence, code in (("see website", 78), ("CC-BY-4.0 OR LicenseRef-ours", 0), ("", 78)):
            changed = settings.replace("[sources.crm]", f"[sources.crm]\nlicence = '{licence}'")
            template.home.config.write_text(changed)
            found, _, err = kbsync(template, "config", "check")
            assert (found, "SPDX" in err) == (code, code != 0), err
    finally:
        template.home.config.write_text(settings)


@pytest.mark.parametrize("form", [".", "delta"])
def test_the_bill_of_a_real_version_is_valid_and_agrees_with_the_ledger(micro: Micro, form: str) -> None:
    directory = micro.home.live.resolve() / form
    bill = valid((directory / bom.NAME).read_bytes())
    version = bill["metadata"]["component"]
    app = micro.application()
    with app.state.read() as tx:
        live = tx.live()
        assert live is not None
        gates = {one.name: one.passed for one in tx.gate_results(live.run)}
    app.close()
    properties = stated(version)
    assert properties["kbsync:base"] == live.base
    assert properties["kbsync:view"] == live.view
    assert properties["kbsync:facts:edited"] == "2"
    assert {name for name in properties if name.startswith("kbsync:gate:")} == {
        f"kbsync:gate:{name}" for name in gates
    }
    for one in version["components"]:
        if one["type"] == "file":
            assert one["hashes"][0]["content"] == sha256_of(directory / one["name"])
    tensors = [one for one in version["components"] if one["type"] == "data"]
    changed = [one["name"] for one in tensors if stated(one)["kbsync:changed"] == "yes"]
    assert (len(tensors), len(changed)) == ((3, 2) if form == "." else (2, 2))
