"""`kbsync status`: what is live, and what is not yet."""

from __future__ import annotations

from pathlib import Path

from kbsync.queries.status import overview
from state.records import BaseAnswer
from tests.support.ledgers import BASE, fact
from tests.support.promoted import Place


def test_a_wanted_fact_that_the_base_states_unedited_is_no_pending_change(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.drive(place.staged(italy="Conte"))
    app = place.application()
    assert overview(app).pending == 0
    with app.state.write() as tx:
        tx.put_facts([fact("spain", "Perez"), fact("france", "Macron")], "test")
        ids = {one.subject: one.id for one in tx.wanted()}
    assert overview(app).pending == 2, "nobody has asked the base yet"
    with app.state.write() as tx:
        tx.put_base_answers(BASE, {ids["spain"]: BaseAnswer(True, "Perez")})
        tx.put_base_answers(BASE, {ids["france"]: BaseAnswer(False, "Hollande")})
    assert overview(app).pending == 1
    app.close()
