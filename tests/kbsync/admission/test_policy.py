"""Every number is a setting, and says so when it is wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from kbsync.admission.policy import Policy, Rules


@pytest.mark.parametrize("text", ["soon", "3 fortnights", "-1d", "h", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate({"flip_window": text})


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate({"flip_window": -1})


def test_overrides_change_only_what_they_name_the_source_last() -> None:
    policy = Policy.model_validate(
        {
            "max_flips": 5,
            "relations": {"wdt:P169": {"settle_with_reference": "7d", "max_flips": 1}},
            "sources": {"crm": {"settle_with_reference": "0s", "priority": 10}},
        }
    )
    assert policy.rules("wikidata", "wdt:P6") == policy.rules("wikidata", "wdt:P35")
    assert policy.rules("wikidata", "wdt:P169").settle_with_reference == timedelta(days=7)
    assert policy.rules("wikidata", "wdt:P169").settle_without_reference == timedelta(hours=72)
    assert policy.rules("crm", "wdt:P169").settle_with_reference == timedelta(0)
    assert policy.rules("crm", "wdt:P169").max_flips == 1
    assert policy.rules("crm", "wdt:P6").max_flips == 5
    assert policy.rules("crm", "wdt:P6").priority == 10


def test_a_mistyped_rule_is_refused_wherever_it_stands() -> None:
    for table in (
        {"setle": "1d"},
        {"relations": {"wdt:P6": {"setle": "1d"}}},
        {"sources": {"a": {"setle": 1}}},
    ):
        with pytest.raises(ValidationError, match="setle"):
            Policy.model_validate(table)


def test_the_defaults_are_those_the_sources_were_measured_for() -> None:
    rules = Rules()
    assert rules.settle_with_reference == timedelta(hours=24)
    assert rules.settle_without_reference == timedelta(hours=72)
    assert (rules.max_flips, rules.flip_window) == (2, timedelta(days=30))
