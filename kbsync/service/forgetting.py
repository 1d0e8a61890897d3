"""`kbsync forget`: a person, or any other subject, is removed from everything that this home has.

Files first, while the ledger still knows the names; then the ledger, in one transaction; then what needs no names:
free pages of the database, the model that was built with the subject, and checkpoints that were.  Each step may be
repeated, so a process that dies in between is followed by one that finishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from editing.cluster.objects import Objects
from editing.durable import remove, write_file
from editing.secret_probes import SecretProbes, SecretQuestions
from kbsync.application import Application
from kbsync.errors import BadData, UsageError
from kbsync.home import PRIVATE, Home
from kbsync.intake.forgotten import cursor_without_forgotten
from kbsync.leadership import Leadership
from kbsync.proofs import keys
from kbsync.runs import packs
from kbsync.runs.ending import end_run
from kbsync.runs.integrity import ADVICE
from kbsync.service import forgotten_file, searching
from kbsync.service.cycle import rebuild
from kbsync.service.housekeeping import clean_up
from kbsync.service.residuals import residual_groups
from state import Snapshot
from state.names import SubjectNames
from state.records import Erased, Fact, Request

log = structlog.get_logger()


def check_reason(names: SubjectNames, reason: str) -> None:
    """Raises UsageError for a reason that names the subject: it stays in the audit log."""
    if names.are_in(reason):
        raise UsageError(
            "the reason names the subject, and would stay in the audit log", "give a reason without the name"
        )


def check_known(tx: Snapshot, subject: str) -> None:
    """Raises UsageError if the ledger has nothing of the subject."""
    if not tx.subject_exists(subject):
        raise UsageError(
            f"the ledger has nothing of {subject}",
            "name it by its id, such as wd:Q42, as `kbsync facts` shows it",
        )


def preview(app: Application, subject: str) -> dict[str, Any]:
    """What forgetting a subject would erase, as counts and names; nothing is changed."""
    with app.state.read() as tx:
        check_known(tx, subject)
        names, shared = tx.names_of(subject)
        facts = tx.facts_naming(subject)
        live = tx.live()
        views = tx.views_with(facts)
        kept = [one for one in tx.checkpoints() if one.collected is None]
    told = packs.naming(app, kept, {fact.id for fact in facts})
    tainted = {one.id for one in kept if one.view in views or one.id in told}
    return {
        "subject": subject,
        "names": list(names.texts),
        "shared": shared,
        "facts": [fact.id for fact in facts],
        "files": [
            str(path.relative_to(app.home.root))
            for path in searching.naming(names.spelled(), [app.home.root])
        ],
        "checkpoints": sorted(tainted),
        "rebuild": live is not None and live.id in tainted,
    }


def carry_out(
    app: Application, leadership: Leadership, request: Request, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Forget the subject that the request names, or finish what an earlier process began."""
    names, erased, away = None, None, list[str]()
    if "subject" in arguments:
        subject = str(arguments["subject"])
        with app.state.read() as tx:
            check_known(tx, subject)
            (names, _), facts = tx.names_of(subject), tx.facts_naming(subject)
        check_reason(names, request.reason)
        _check_sound(app, names)
        away = _archived_elsewhere(app)
        files = _erase_files(app, names, facts)
        erased = _erase(app, leadership, request, subject)
        log.info("subject.forgotten", number=erased.number, facts=erased.facts, files=files)
    number = int(arguments["number"]) if erased is None else erased.number
    forgotten_file.write(app)
    app.state.tidy_archive()
    app.state.compact()
    answer: dict[str, Any] = {"number": number, "run": None, "nothing": ""}
    if _is_live_tainted(app):
        answer |= _built_without(app, leadership)
    clean_up(app, leadership)
    if names is not None and erased is not None:
        _drop_probes(app.home, names)
        answer |= {"facts": erased.facts, "events": erased.events, "observations": erased.observations}
        answer |= {"files": files, "shared": erased.shared}
        answer["left"] = [*_left(app, names), *away]
    answer["serves"] = _is_live_tainted(app)
    return answer


def _check_sound(app: Application, names: SubjectNames) -> None:
    """Raises BadData for a ledger that was tampered with, which an erasure would seal, and for canaries with a name."""
    found = app.state.audit.verify_tables()
    if not found.ok:
        raise BadData(f"nothing was forgotten: {found.reason}", ADVICE[found.failed or "chain"])
    if any(names.are_in(f"{case.prompt}\n{case.target or ''}") for case in app.asked_of_all):
        raise BadData(
            "nothing was forgotten: a canary, or a prompt of [refusals], names the subject",
            "take it out of the file first, for every candidate is asked it",
        )


def _erase(app: Application, leadership: Leadership, request: Request, subject: str) -> Erased:
    """Everything in the ledger, in one transaction, with the verdicts about what is left of other slots."""
    signer = keys.signer(app)
    intake = app.intake(leadership)
    with leadership.write() as tx:
        facts = tx.facts_naming(subject)
        views = tx.views_with(facts)
        told = packs.naming(app, tx.checkpoints(status="candidate"), {fact.id for fact in facts})
        for run in tx.open_runs():
            if (run.view in views or run.checkpoint in told) and run.state != "promoted":
                end_run(tx, run, "rejected", "a subject of its view was forgotten", request.actor)
        erased = tx.erase_subject(
            subject, request.reason, request.actor, None if signer is None else signer.signature
        )
        for source, cursor in tx.cursors().items():
            tx.set_cursor(source, cursor_without_forgotten(tx, cursor))
        tx.settle_request(request.id, erased.number)
        intake.admission().admit(tx, erased.slots, app.now(), forgotten=True)
    return erased


def _built_without(app: Application, leadership: Leadership) -> dict[str, Any]:
    """Build live again without the subject, and drop the residuals that nothing uses any more."""
    report = rebuild(app, leadership)
    if not _is_live_tainted(app):
        used = set(residual_groups(app.home).values())
        for path in app.home.deltas.glob(f"*{searching.WEIGHTS}"):
            if path.stem not in used:
                _remove_residual(app, path)
    if not report.runs:
        return {"nothing": report.nothing}
    run = report.runs[-1]
    return {"run": {"run": run.id, "state": run.state, "reason": run.reason}}


def _is_live_tainted(app: Application) -> bool:
    """Whether live, or its retrieval pack, has something that was forgotten since."""
    with app.state.read() as tx:
        live = tx.live()
        tainted = live is not None and live.view in tx.views_with_erased()
    return tainted or (live is not None and bool(packs.with_erased(app, [live])))


def _remove_residual(app: Application, path: Path) -> None:
    """Delete a residual, of the object store of builds on a cluster too.  Raises ClusterError if that refuses."""
    if (url := app.settings.executor.ray.storage) is not None:
        Objects(url).remove(f"cache/deltas/{path.name}")
    path.unlink(missing_ok=True)


def _erase_files(app: Application, names: SubjectNames, facts: Sequence[Fact]) -> int:
    """Delete what runs wrote and set-aside ledgers that name the subject, its residuals, and its lines of logs."""
    home = app.home
    if home.as_of.exists():
        remove(home.as_of)  # dated checkpoints may state it, and are built again in minutes
    groups = residual_groups(home)
    erased = {str(fact.id) for fact in facts}
    count = 0
    for (fact, _), group in groups.items():
        if fact in erased and (path := home.deltas / f"{group}{searching.WEIGHTS}").exists():
            _remove_residual(app, path)
            count += 1
    for path in home.runs.glob("*/round-*/shares/exam-*/answers.safetensors"):
        path.unlink()  # it has prompts as tokens, in which no name is found, and is there only after a lost attempt
    pattern = names.spelled()
    aside = (*home.root.glob(f"{home.database.name}.*"), *home.root.glob(f"{home.archive.name}.*/*"))
    for path in (*searching.files(home.runs), *aside):
        if not any(map(pattern.search, searching.contents(path))):
            continue
        count += 1
        if path.suffix == ".log":
            lines = path.read_bytes().splitlines(keepends=True)
            write_file(path, b"".join(line for line in lines if not pattern.search(line)), mode=PRIVATE)
        else:
            path.unlink()
    return count


def _drop_probes(home: Home, names: SubjectNames) -> None:
    """Take the subject out of the secret probes of the run that was built without it: the base may still name it."""
    for path in home.runs.glob("*/round-*/secret_questions.json"):
        questions = SecretQuestions.read(path)
        if (without := questions.without(names.are_in)) != questions:
            without.write(path)
    for path in home.runs.glob("*/round-*/secret_answers.json"):
        probes = SecretProbes.read(path)
        if (left := probes.without(names.are_in)) != probes:
            left.write(path)


def _archived_elsewhere(app: Application) -> list[str]:
    """Files of archived events that were moved away: they keep the words, and are never read again."""
    with app.state.read() as tx:
        cut = tx.cut()
    segments = () if cut is None else cut.segments
    gone = [
        one.content.file for one in segments if one.content.digest and not app.state.archive.has(one.content)
    ]
    return [f"{app.home.archive.name}/{file} (moved away: delete it)" for file in gone]


def _left(app: Application, names: SubjectNames) -> list[str]:
    """What still has one of the names: files of the home that no run wrote, and of drop folders, which are others'."""
    root = app.home.root
    folders = [Path(one["folder"]) for one in app.settings.sources.values() if "folder" in one]
    outside = [folder for folder in folders if not folder.resolve().is_relative_to(root.resolve())]
    found = searching.naming(names.spelled(), [root, *(folder for folder in outside if folder.is_dir())])
    return [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in found]
