"""Property tests in two editions: few examples among the quick tests, ten thousand among the slow ones.

@editions(quick=100)
def test_a_promise_holds(examples: int) -> None:
    @drawing(examples)
    @given(st.text())
    def holds(text: str) -> None:
        ...

    holds()
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MANY = 10_000

SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.lists(st.text())
)
"""What cells of rows can hold, surrogates, NUL and NaN among it."""


def editions(quick: int, thorough: int = MANY) -> pytest.MarkDecorator:
    """Runs a test with `examples` = `quick`, and in the thorough edition with `thorough`."""
    few = pytest.param(quick, id="quick")
    many = pytest.param(thorough, id="thorough", marks=[pytest.mark.thorough, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("examples", [few, many])


def drawing(examples: int) -> settings:
    """The same examples every time, without a deadline: machines are slow or busy."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
