"""Views: immutable sets of facts, named by a digest over their keys; and what a base knows of them.

The same facts are the same view whenever they are wanted, which is what lets A→B→A end without a
run and a kept checkpoint be found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import and_, exists, select

from state.errors import NotFound
from state.fact_queries import FACT, FACTS
from state.paging import Page, cut
from state.records import BaseAnswer, Checkpoint, Fact, View
from state.tables import BaseAnswers, ViewFacts, Views, table
from state.transaction import SLOTS, NewEvent, Reader, Writer, chunks, columns_of

VIEWS, VIEW_FACTS, BASE_ANSWERS = table(Views), table(ViewFacts), table(BaseAnswers)
ERASED = "erased"
"""The reason code of a fact whose subject was forgotten (`erasure.py`)."""
_VIEW = columns_of(VIEWS, View)


def digest_of(keys: Iterable[str]) -> str:
    """SHA-256 over the fact keys, sorted, a line each."""
    return hashlib.sha256("".join(f"{key}\n" for key in sorted(keys)).encode()).hexdigest()


class ViewQueries(Reader):
    def view(self, digest: str) -> View:
        """Raises NotFound."""
        row = self._row(select(*_VIEW).where(VIEWS.c.digest == digest))
        if row is None:
            raise NotFound("view", digest)
        return View(*row)

    def view_facts(self, digest: str) -> tuple[Fact, ...]:
        """The view's facts, sorted by key; their status is today's, not that of the view's making."""
        joined = VIEWS.join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id).join(FACTS).join(SLOTS)
        rows = self._rows(select(*FACT).select_from(joined).where(VIEWS.c.digest == digest))
        return tuple(sorted((Fact(*row) for row in rows), key=lambda fact: fact.key))

    def edits_page(self, checkpoint: Checkpoint, after: int = 0, limit: int = 50) -> Page[Fact]:
        """Facts by number that the checkpoint was edited with: those of its view that its base does not state."""
        view = select(VIEWS.c.id).where(VIEWS.c.digest == checkpoint.view).scalar_subquery()
        answer = and_(BASE_ANSWERS.c.base == checkpoint.base, BASE_ANSWERS.c.fact == VIEW_FACTS.c.fact)
        chosen = (
            select(*FACT)
            .select_from(VIEW_FACTS.join(FACTS).join(SLOTS))
            .where(VIEW_FACTS.c.view == view, VIEW_FACTS.c.fact > after)
            .where(~exists().where(answer, BASE_ANSWERS.c.known))
        )
        rows = self._rows(chosen.order_by(VIEW_FACTS.c.fact).limit(limit + 1))
        return cut([Fact(*row) for row in rows], limit, lambda fact: fact.id)

    def views(self, digests: Iterable[str]) -> dict[str, View]:
        """The views of these digests that there are."""
        rows = (
            row
            for chunk in chunks(digests)
            for row in self._rows(select(*_VIEW).where(VIEWS.c.digest.in_(chunk)))
        )
        return {row.digest: View(*row) for row in rows}

    def members(self, digest: str, fact_ids: Iterable[int]) -> frozenset[int]:
        """Those of the facts that are in the view."""
        stated = (
            select(VIEW_FACTS.c.fact)
            .join(VIEWS, VIEW_FACTS.c.view == VIEWS.c.id)
            .where(VIEWS.c.digest == digest)
        )
        return frozenset(
            row.fact
            for chunk in chunks(fact_ids)
            for row in self._rows(stated.where(VIEW_FACTS.c.fact.in_(chunk)))
        )

    def facts_not_in(self, digest: str, other: str) -> tuple[Fact, ...]:
        """The facts of one view that another does not have, by id."""
        id = self._value(select(VIEWS.c.id).where(VIEWS.c.digest == other))
        elsewhere = VIEW_FACTS.alias()
        shared = exists().where(elsewhere.c.view == id, elsewhere.c.fact == VIEW_FACTS.c.fact)
        joined = VIEWS.join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id).join(FACTS).join(SLOTS)
        chosen = select(*FACT).select_from(joined).where(VIEWS.c.digest == digest, ~shared)
        return tuple(Fact(*row) for row in self._rows(chosen.order_by(FACTS.c.id)))

    def views_with_erased(self) -> frozenset[str]:
        """Digests of the views that had a fact which was erased since."""
        erased = (FACTS.c.status == "retracted") & (FACTS.c.reason_code == ERASED)
        views = select(VIEWS.c.digest).join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id).join(FACTS)
        return frozenset(row.digest for row in self._rows(views.where(erased).distinct()))

    def base_answers(self, base: str, fact_ids: Iterable[int]) -> dict[int, BaseAnswer]:
        """What the base answers, of the facts that it was asked about."""
        found = {}
        for chunk in chunks(fact_ids):
            asked = (BASE_ANSWERS.c.base == base) & BASE_ANSWERS.c.fact.in_(chunk)
            for row in self._rows(select(BASE_ANSWERS).where(asked)):
                found[row.fact] = BaseAnswer(row.known, row.answer)
        return found

    def known_facts(self, base: str, fact_ids: Iterable[int]) -> frozenset[int]:
        """Those of the facts that the base states unedited, as far as it was asked."""
        return frozenset(fact for fact, found in self.base_answers(base, fact_ids).items() if found.known)


class ViewTransitions(ViewQueries, Writer):
    def create_view(self, facts: Sequence[Fact], actor: str = "planner") -> View:
        """Stores the set of facts; the view that already exists is returned as it is."""
        digest = digest_of(fact.key for fact in facts)
        row = self._row(select(*_VIEW).where(VIEWS.c.digest == digest))
        if row is not None:
            return View(*row)
        members = {fact.id for fact in facts}
        view, id = View(digest, len(members), self.clock()), self._next_id(VIEWS)
        self._insert(VIEWS, [{"id": id, "digest": digest, "size": view.size, "created": view.created}])
        self._insert(VIEW_FACTS, [{"view": id, "fact": fact} for fact in sorted(members)])
        self._log(actor, [NewEvent("view.created", {"view": digest, "size": view.size})])
        return view

    def put_base_answers(self, base: str, answers: Mapping[int, BaseAnswer]) -> None:
        """Keeps what the base answers; asked again, the newer answer counts."""
        for chunk in chunks(answers):
            self._delete(BASE_ANSWERS, (BASE_ANSWERS.c.base == base) & BASE_ANSWERS.c.fact.in_(chunk))
        self._insert(
            BASE_ANSWERS,
            [
                {"base": base, "fact": fact, "known": found.known, "answer": found.answer}
                for fact, found in answers.items()
            ],
        )
