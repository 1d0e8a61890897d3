"""Who was forgotten, kept beside the ledger, so that a restore of an older backup does not bring them back.

The file has what the table has: keyed digests, no names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from editing.durable import write_file
from kbsync.application import Application
from kbsync.errors import BadData
from kbsync.home import PRIVATE
from kbsync.intake.forgotten import cursor_without_forgotten
from kbsync.proofs import keys
from state import Transaction
from state.forgotten import digest_of_subject
from state.hash_chain import canonical
from state.records import ForgottenSubject

_ROWS = TypeAdapter(list[ForgottenSubject])


def write(app: Application) -> None:
    """Bring the file up to date with the ledger."""
    with app.state.read() as tx:
        rows = tx.forgotten_subjects()
    write_file(app.home.forgotten, canonical([asdict(one) for one in rows]).encode(), mode=PRIVATE)


def forget_again(
    app: Application, write: Callable[[], AbstractContextManager[Transaction]], actor: str
) -> int:
    """Erase, from a ledger that was restored, whoever was forgotten after the backup; returns how many subjects.

    `write` opens the transactions.  Raises BadData if the file cannot be read: without it, forgotten people would come
    back unnoticed.
    """
    erased = 0
    for one in _missing(app):
        signer = keys.signer(app)
        with write() as tx:
            salt, digests = one.salt, set(json.loads(one.digests))
            found = sorted({id for id in tx.subjects() if digest_of_subject(salt, id) in digests})
            for subject in found:
                tx.erase_subject(subject, one.reason, actor, None if signer is None else signer.signature)
            tx.adopt_forgotten(one)
            for source, cursor in tx.cursors().items():
                tx.set_cursor(source, cursor_without_forgotten(tx, cursor))
        erased += bool(found)
    if erased:
        app.state.compact()
    return erased


def _missing(app: Application) -> Iterator[ForgottenSubject]:
    """Rows of the file that the ledger lacks and that were not released."""
    if not app.home.forgotten.is_file():
        return
    try:
        rows = _ROWS.validate_json(app.home.forgotten.read_bytes())
    except ValidationError as error:
        raise BadData(
            f"{app.home.forgotten} is not a list of forgotten subjects: {error.error_count()} entries are wrong",
            "take it from a newer backup of the home, or move it away and forget those subjects again",
        ) from error
    with app.state.read() as tx:
        known = {one.digests for one in tx.forgotten_subjects()}
    yield from (one for one in rows if one.released is None and one.digests not in known)
