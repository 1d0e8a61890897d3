"""Rows become whole slots: typed cells, ids in their namespaces, one label, and rejects by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SourceDataError
from connectors.observations import Entity, Observation
from connectors.rows.mapping import MAX_REJECTS, MAX_STATEMENTS, Mapper, MappingSettings
from connectors.terms import Term
from tests.support.properties import SCALARS, drawing, editions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CRM: dict[str, Any] = {"namespace": "crm", "relation": "crm:owner"}


def mapper_of(*rows: Mapping[str, Any], languages: tuple[str, ...] = (), **settings: Any) -> Mapper:
    rows_ = ({"subject": None, "object": None} | row for row in rows)
    return Mapper("crm", MappingSettings(**{**CRM, **settings}), languages).add_all(enumerate(rows_, 1))


def slots_of(mapper: Mapper) -> dict[str, list[str]]:
    return {
        o.subject.id: [s.object.id for s in o.statements if s.object] for o in mapper.observations(1, NOW)
    }


def one(mapper: Mapper) -> Observation:
    (observation,) = mapper.observations(1, NOW)
    return observation


@pytest.mark.parametrize(
    ("subject", "id"),
    [
        (b"1", "crm:1"),
        (42.0, "crm:42"),
        (UUID(int=5), "crm:00000000-0000-0000-0000-000000000005"),
        ("acme:hq", "acme:hq"),
        ("urn:uuid:7", "urn:uuid:7"),
        ("crm:7", "crm:7"),
        ("12:30 train", "crm:12:30 train"),
        ("Acme: a story", "crm:Acme: a story"),
        ("http://www.wikidata.org/entity/Q38", "wd:Q38"),
        ("<http://www.wikidata.org/entity/Q38>", "wd:Q38"),
        ("https://www.wikidata.org/wiki/Q38", "wd:Q38"),
        (Term("uri", "http://www.wikidata.org/entity/Q38"), "wd:Q38"),
    ],
)
def test_a_subject_of_any_type_is_an_id_in_its_namespace(subject: object, id: str) -> None:
    assert one(mapper_of({"subject": subject, "object": b"Anna"})).subject.id == id


@pytest.mark.parametrize(
    ("value", "datatype", "text"),
    [
        ("+42", "decimal", "42"),
        ("042", "integer", "42"),
        ("42.0", "double", "42"),
        ("4.2E1", "double", "42"),
        (" 7 ", "unsignedByte", "7"),
        ("NaN", "double", None),
        ("-INF", "float", None),
        ("9007199254740993", "double", None),
        ("9007199254740993", "integer", "9007199254740993"),
        ("1_000", "integer", None),
        ("٣", "integer", None),
        ("true", "boolean", None),
        ("P1D", "duration", None),
        ("YQ==", "base64Binary", None),
        ("2024-05-01", "date", "2024-05-01"),
        ("anything", "anyURI", "anything"),
    ],
)
def test_a_typed_literal_has_the_text_of_its_value_or_rejects_its_row(
    value: str, datatype: str, text: str | None
) -> None:
    mapper = Mapper("crm", MappingSettings(namespace="crm", relation="crm:r"))
    term = Term("literal", value, f"http://www.w3.org/2001/XMLSchema#{datatype}")
    mapper.add(1, {"subject": "a", "object": term})
    if text is None:
        assert mapper.rejects[0].reason.startswith("object is ")
    else:
        (observation,) = mapper.observations(1, NOW)
        assert [s.object and s.object.label for s in observation.statements] == [text]


def test_an_entity_without_a_label_has_none_and_is_no_text() -> None:
    italy = "http://www.wikidata.org/entity/Q38"
    for cell in (italy, Term("uri", italy), "wd:Q38"):
        (statement,) = one(mapper_of({"subject": "a", "object": cell})).statements
        assert (statement.kind, statement.object) == ("entity", Entity("wd:Q38", None))
    observation = one(mapper_of({"subject": italy, "object": "x"}))
    assert observation.subject == Entity("wd:Q38", None)


def test_a_node_of_an_unknown_graph_is_never_taken_for_text() -> None:
    mapper = mapper_of({"subject": "a", "object": Term("uri", "https://elsewhere.example/x")})
    assert slots_of(mapper) == {}
    assert (
        "is not in a known namespace; add the beginning of its IRI to `prefixes`" in mapper.rejects[0].reason
    )
    literal = mapper_of({"subject": "a", "object": "https://elsewhere.example/x"})
    assert slots_of(literal) == {"crm:a": ["lit:https://elsewhere.example/x"]}


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"subject": "\ud800"}, "subject holds a lone surrogate"),
        ({"subject": "a\0b"}, "subject holds NUL"),
        ({"subject": "a\x1b[2J"}, "an id contains a control character"),
        ({"subject": "\u202e1"}, "an id contains a control character or an invisible one"),
        ({"subject": "1\u200b"}, "an id contains a control character or an invisible one"),
        ({"subject": "crm:"}, "has a prefix and no id"),
        ({"subject": "wd: Q1"}, "has a prefix and no id"),
        ({"subject": "x" * 1_100}, "an id has more than 1000 bytes"),
        ({"subject_label": "\udcff"}, "subject_label holds a lone surrogate"),
        ({"object_aliases": ["ok", "\ud800"]}, "object_aliases holds a lone surrogate"),
        ({"object_aliases": "|".join("x" * 501)}, "object_aliases has 501 names; at most 500"),
        ({"object": float("nan")}, "object is nan (of type float)"),
        ({"object": {"deep": {}}}, "object is a value of type dict"),
        ({"object": "é" * 1_500}, "object has more than 2000 bytes"),
        ({"references": "7" * 5_000}, "references has 5000 characters"),
        ({"references": "²"}, "references is '²', not a whole number"),
        ({"references": -1}, "references is '-1', not a whole number"),
        ({"rank": "best"}, "rank is 'best'; it can be preferred, normal, deprecated"),
        ({"start": "soon", "end": "later"}, "'soon' is not a date or time in ISO 8601; end: 'later'"),
        ({"relation": "https://elsewhere.example/r"}, "is not in a known namespace"),
    ],
)
def test_a_bad_cell_rejects_its_row_names_its_field_and_costs_no_other_slot(
    cells: Mapping[str, Any], reason: str
) -> None:
    mapper = mapper_of({"subject": "a", "object": "Ann"} | cells, {"subject": "b", "object": "Bob"})
    assert slots_of(mapper) == {"crm:b": ["lit:Bob"]}
    (reject,) = mapper.rejects
    assert reject.line == 1
    assert reason in reject.reason


def test_columns_are_named_beside_their_field_in_errors() -> None:
    columns = {"subject": "id", "references": "sources"}
    mapper = mapper_of({"id": "a", "object": "Ann", "sources": "many"}, columns=columns)
    assert "references (column 'sources') is 'many'" in mapper.rejects[0].reason


def test_a_label_is_taken_in_the_best_language_whatever_order_rows_come_in() -> None:
    tags = [f"x{n}" for n in range(100)]
    names = [Term("literal", f"Italy in {tag}", None, tag) for tag in ("de", "en", "en-GB", *tags)]
    rows = [{"subject": "wd:Q38", "object": "Rome", "subject_label": name} for name in names]
    plain: dict[str, Any] = {"subject": "wd:Q38", "object": "Rome", "subject_label": "Italy"}
    for given_ in (rows, rows[::-1]):
        assert one(mapper_of(*given_, languages=("en", "mul"))).subject.label == "Italy in en"
        assert one(mapper_of(*given_, languages=("fr", "de"))).subject.label == "Italy in de"
        assert one(mapper_of(*given_, languages=("fr",))).subject.label is None
        assert one(mapper_of(*given_, plain, languages=("fr",))).subject.label == "Italy"
        without_english = [row for row in given_ if row["subject_label"].language != "en"]
        assert one(mapper_of(*without_english, languages=("en",))).subject.label == "Italy in en-GB"


def test_a_bare_id_is_its_own_label_only_where_no_row_gives_one() -> None:
    rows = [{"subject": "7", "object": "Ann"}, {"subject": "7", "object": "Bob", "subject_label": "Acme"}]
    assert one(mapper_of(*rows)).subject.label == one(mapper_of(*rows[::-1])).subject.label == "Acme"


def test_a_value_that_held_twice_is_two_statements() -> None:
    rows = [
        {"subject": "it", "object": "Silvio", "start": "1994-05-10", "end": "1995-01-17"},
        {"subject": "it", "object": "Silvio", "start": "2001-06-11", "end": "2006-05-17"},
    ]
    assert len(one(mapper_of(*rows)).statements) == 2
    assert one(mapper_of(*rows)) == one(mapper_of(*rows[::-1], rows[0]))


def test_one_statement_with_two_meanings_is_no_statement() -> None:
    rows = [{"subject": "a", "statement": "s1", "object": name} for name in ("Ann", "Bob")]
    mapper = mapper_of(*rows)
    assert slots_of(mapper) == {}
    assert "statement s1 already occurs in an earlier row, with other values" in mapper.rejects[0].reason


@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31T23:59:59Z", datetime.max, datetime.max.date()])
def test_the_last_day_of_the_calendar_is_no_end(end: object) -> None:
    assert one(mapper_of({"subject": "a", "object": "Ann", "end": end})).statements[0].end is None


def test_what_one_reading_holds_is_bounded() -> None:
    with pytest.raises(SourceDataError, match=r"more than 3 rows in one reading; .* raise `max_rows`"):
        mapper_of(*({"subject": str(n), "object": "x"} for n in range(4)), max_rows=3)
    crowded = mapper_of(*({"subject": "a", "object": str(n)} for n in range(MAX_STATEMENTS + 1)))
    assert slots_of(crowded) == {}
    many_names = mapper_of(*({"subject": "a", "object": "x", "object_aliases": str(n)} for n in range(501)))
    assert slots_of(many_names) == {}
    bad = mapper_of(*({"subject": "", "object": "x"} for _ in range(MAX_REJECTS + 5)))
    assert (bad.rejected, len(bad.rejects)) == (MAX_REJECTS + 5, MAX_REJECTS)


CELLS = SCALARS | st.builds(
    Term,
    st.sampled_from(["uri", "literal", "bnode"]),
    st.text(st.characters(), max_size=20),
    st.none(),
    st.none() | st.text(st.characters(), max_size=4),
)
ROWS = st.dictionaries(
    st.sampled_from(
        [*MappingSettings.model_fields, "subject", "object", "end", "start", "references", "rank"]
    )
    | st.sampled_from(["subject_label", "object_label", "subject_aliases", "statement", "modified"]),
    CELLS,
    max_size=8,
)


@editions(quick=200)
def test_whatever_cells_hold_only_rows_are_rejected_and_good_rows_arrive(examples: int) -> None:
    @drawing(examples)
    @given(st.lists(ROWS, max_size=6))
    def holds(rows: list[dict[str, Any]]) -> None:
        mapper = mapper_of(*rows, {"subject": "crm:good", "object": "Ann"})
        observations = {o.subject.id: o for o in mapper.observations(1, NOW)}
        assert [s.object and s.object.id for s in observations["crm:good"].statements] == ["lit:Ann"]
        assert mapper.rejected == len(mapper.rejects) <= len(rows)
        for observation in observations.values():
            repr(observation).encode()
            assert ":" in observation.subject.id
        assert all(reject.reason.isprintable() for reject in mapper.rejects)

    holds()


@pytest.mark.parametrize(
    "address",
    [
        "http://wikidata.org/entity/Q38",
        "HTTPS://WWW.WIKIDATA.ORG/wiki/Q38",
        "http://www.wikidata.org/entity/q38",
        "http://www.wikidata.org/entity/Q38#P6",
        "https://m.wikidata.org/wiki/Q38?uselang=it",
        "https://www.wikidata.org/wiki/Special:EntityPage/Q38",
        "https://www.wikidata.org/wiki/Special:EntityData/Q38.ttl",
        "www.wikidata.org/wiki/Q38",
    ],
)
def test_an_address_of_an_item_is_the_item_however_it_is_written(address: str) -> None:
    observation = one(mapper_of({"subject": "rome", "object": address}))
    assert observation.statements[0].object == Entity("wd:Q38")


@pytest.mark.parametrize("field", ["start", "end", "modified"])
@pytest.mark.parametrize("date", ["0000-00-00", "0000-00-00 00:00:00"])
def test_a_date_of_zeros_is_no_date(field: str, date: str) -> None:
    observation = one(mapper_of({"subject": "rome", "object": "x", field: date}))
    assert (observation.modified, observation.statements[0].start, observation.statements[0].end) == (
        None,
    ) * 3


def test_a_name_of_an_id_may_hold_joiners_and_spaces_of_any_script() -> None:
    assert (
        one(mapper_of({"subject": "\u0645\u06cc\u200c\u062e", "object": "x"})).subject.id
        == "crm:\u0645\u06cc\u200c\u062e"
    )
    assert one(mapper_of({"subject": "a\u3000b", "object": "x"})).subject.id == "crm:a\u3000b"
