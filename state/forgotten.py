"""Subjects that were forgotten: recognised by keyed digests, so that they are not learnt again until released."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import select

from state.errors import NotFound
from state.hash_chain import canonical
from state.records import ForgottenSubject
from state.tables import Forgotten, table
from state.transaction import NewEvent, Reader, Writer, columns_of

FORGOTTEN = table(Forgotten)
_FORGOTTEN = columns_of(FORGOTTEN, ForgottenSubject)


def digest_of_subject(salt: str, id: str) -> str:
    """HMAC-SHA256 of an id.  It hides the id from readers of the ledger who do not already suspect whose it is."""
    return hmac.new(bytes.fromhex(salt), id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class ForgottenQueries(Reader):
    def forgotten_subjects(self) -> tuple[ForgottenSubject, ...]:
        """Every subject that was ever forgotten, in order."""
        return tuple(
            ForgottenSubject(*row) for row in self._rows(select(*_FORGOTTEN).order_by(FORGOTTEN.c.number))
        )

    def has_forgotten(self) -> bool:
        """Whether there is anyone who must not be learnt."""
        return (
            self._row(select(FORGOTTEN.c.number).where(FORGOTTEN.c.released.is_(None)).limit(1)) is not None
        )

    def forgotten(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of the ids that must not be learnt."""
        barred: dict[str, set[str]] = {}
        for one in self.forgotten_subjects():
            if one.released is None:
                barred.setdefault(one.salt, set()).update(json.loads(one.digests))
        if not barred:
            return frozenset()
        return frozenset(
            id
            for id in set(ids)
            if any(digest_of_subject(salt, id) in digests for salt, digests in barred.items())
        )


class ForgottenTransitions(ForgottenQueries, Writer):
    def keep_forgotten(self, ids: Iterable[str], reason: str, actor: str) -> ForgottenSubject:
        """Have these ids, which name one subject, forgotten from now on."""
        known = self.forgotten_subjects()
        salt = known[0].salt if known else secrets.token_hex(32)
        digests = canonical(sorted(digest_of_subject(salt, id) for id in set(ids)))
        number = self._next_number()
        made = ForgottenSubject(number, salt, digests, reason, actor, self.clock(), None)
        self._insert(FORGOTTEN, [{column.name: getattr(made, column.name) for column in _FORGOTTEN}])
        return made

    def adopt_forgotten(self, one: ForgottenSubject) -> None:
        """Have a subject forgotten that another state of this ledger had forgotten."""
        made = replace(one, number=self._next_number())
        self._insert(FORGOTTEN, [{column.name: getattr(made, column.name) for column in _FORGOTTEN}])

    def follow_forgotten(self, old: str, new: str) -> None:
        """A forgotten subject was merged into another id at its source: that is forgotten as well."""
        for one in self.forgotten_subjects():
            digests = json.loads(one.digests)
            also = digest_of_subject(one.salt, new)
            if one.released is None and digest_of_subject(one.salt, old) in digests and also not in digests:
                self._update(
                    FORGOTTEN, FORGOTTEN.c.number == one.number, digests=canonical(sorted([*digests, also]))
                )

    def release_forgotten(self, number: int, reason: str, actor: str) -> ForgottenSubject:
        """The subject may be learnt again.  Raises NotFound; one that was released stays as it is."""
        found = next((one for one in self.forgotten_subjects() if one.number == number), None)
        if found is None:
            raise NotFound("forgotten subject", number)
        if found.released is None:
            self._update(FORGOTTEN, FORGOTTEN.c.number == number, released=self.clock())
            self._log(actor, [NewEvent("subject.released", {"number": number, "reason": reason})])
        return next(one for one in self.forgotten_subjects() if one.number == number)

    def _next_number(self) -> int:
        return len(self.forgotten_subjects()) + 1
