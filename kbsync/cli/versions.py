"""`build`, `merge`, `diff`, `bisect`: views apart from runs, and what versions differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kbsync.cli.options import Json, TimeOption, globals_of
from kbsync.console import live_progress, plain, print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.versions.as_of import AsOf
    from kbsync.versions.bisecting import Bisected
    from kbsync.versions.building import BuiltView, Views
    from kbsync.versions.changes import AnswerChanges, FactChange
    from kbsync.versions.merging import Union
    from kbsync.versions.naming import Version

Exam = Annotated[
    bool, typer.Option("--exam", help="Judge it by the gates, as a candidate is; live is not compared.")
]
VERSION = "A checkpoint's number, `live`, `base`, or a date (2026-05-01)."


def register(app: typer.Typer) -> None:
    for command in (build, merge, diff, bisect):
        app.command()(command)


def build(
    context: typer.Context,
    as_of: Annotated[
        str, typer.Option("--as-of", help="Date, or date and time in UTC: 2024-03-01, 2024-03-01T12:00.")
    ],
    time: TimeOption = "world",
    out: Annotated[
        Path | None,
        typer.Option(help="Where the checkpoint appears; must not exist. Default: as-of/ in the home."),
    ] = None,
    exam: Exam = False,
    json: Json = False,
) -> None:
    """Build the model as of a date, from the cached edits.  It never goes live by itself.

    By default it states what was true in the world on that date, by the start and end dates that the sources have
    today. With --time ledger it states what this kbsync wanted on that date, by its log, mistakes included. Exit code
    10: it was judged, and a gate failed; it is written all the same.
    """
    from kbsync.versions.as_of import build_as_of

    with globals_of(context).application() as app:
        at = _parse(app)(as_of)
        with _views(app, "kbsync build") as views:
            found = build_as_of(app, views, at, time, out=out, exam=exam)
    if json:
        print_json({"at": found.at, "time": found.time, "built": found.built, **_built_json(found.view)})
    else:
        _show_as_of(found)
    if not found.view.passed:
        raise typer.Exit(10)


def merge(
    context: typer.Context,
    other: Annotated[Path, typer.Argument(help="The other home; its ledger is only read.")],
    out: Annotated[Path, typer.Option(help="Where the checkpoint appears; must not exist.")],
    other_config: Annotated[
        Path | None,
        typer.Option(help="The other home's settings file, if it is not kbsync.toml in that home."),
    ] = None,
    prefer: Annotated[
        Literal["own", "other"] | None,
        typer.Option(help="Whose facts count where the two conflict: this home's or the other's."),
    ] = None,
    exam: Exam = False,
    json: Json = False,
) -> None:
    """Build one checkpoint of what is live in two homes that edit the same base.  It never goes live by itself.

    Facts of one slot or one prompt with different objects are conflicts: they are listed, and nothing is built until
    --prefer decides them (exit code 65). This home's settings, relations and forms count. Exit code 10: it was judged,
    and a gate failed; it is written all the same.
    """
    from kbsync.versions import merging
    from kbsync.versions.naming import version

    with globals_of(context).application() as app:
        own = version(app, "live", _parse(app))
        with merging.opened(other, other_config) as theirs:
            second = version(theirs, "live", _parse(theirs))
        merging.check_bases(app, own, second)
        union = merging.united(own, second, prefer)
        if union.conflicts and not json:
            _show_conflicts(union, own.name, second.name)
        if union.conflicts and prefer is None:
            raise merging.undecided(union)
        with _views(app, "kbsync merge") as views:
            found = merging.merge(app, views, union, out, exam=exam)
    if json:
        conflicts = [{"own": plain(one.own), "other": plain(one.other)} for one in union.conflicts]
        counts = {"agreed": union.agreed, "from_other": union.from_other}
        print_json({"conflicts": conflicts, **counts, **_built_json(found)})
    else:
        say(f"{union.agreed} facts are in both homes, {union.from_other} come from {other}")
        _show_built(found, "both homes together")
    if not found.passed:
        raise typer.Exit(10)


def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help=VERSION)],
    after: Annotated[str, typer.Argument(help="The version to compare it with, written in the same way.")],
    ask: Annotated[
        bool,
        typer.Option(
            "--ask", help="Also ask both the canaries and the changed facts' prompts, and show what differs."
        ),
    ] = False,
    time: TimeOption = "world",
    json: Json = False,
) -> None:
    """Show which facts two versions differ in, each with its source, and with --ask which answers.

    A version whose directory is not kept any more, and a date, are built from the cache to be asked.
    """
    from kbsync.versions.changes import answer_changes, fact_changes
    from kbsync.versions.naming import version

    answers = None
    with globals_of(context).application() as app:
        old, new = (version(app, text, _parse(app), time) for text in (before, after))
        changes = fact_changes(old, new)
        if ask:
            with _views(app, "kbsync diff") as views:
                answers = answer_changes(app, views, old, new, changes)
    if json:
        listed = [{"kind": one.kind, **plain(one)} for one in changes]
        print_json({"before": _named(old), "after": _named(new), "changes": listed, "answers": answers})
        return
    _show_changes(f"from {old.name} to {new.name}", changes)
    if answers is not None:
        _show_answers(answers, old.name, new.name)


def bisect(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The prompt, such as a canary's, that is answered wrongly.")],
    good: Annotated[
        str | None, typer.Option(help=f"{VERSION} Default: what was live before.", show_default=False)
    ] = None,
    bad: Annotated[str | None, typer.Option(help=f"{VERSION} Default: live.", show_default=False)] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            help="What a good answer states; default: the target of the canary, or of the good version's fact, "
            "with this prompt, or else the good version's answer."
        ),
    ] = None,
    time: TimeOption = "world",
    json: Json = False,
) -> None:
    """Find the fact whose change broke the answer to a prompt, in at most log2 n builds from cached edits.

    n is the number of facts that the two versions differ in. The base itself is a good version too: `--good base`.
    """
    from kbsync.errors import UsageError
    from kbsync.versions import bisecting
    from kbsync.versions.naming import version

    with globals_of(context).application() as app:
        before, live = bisecting.default_ends(app)
        first = version(app, good, _parse(app), time) if good is not None else before
        last = version(app, bad, _parse(app), time) if bad is not None else live
        if first is None or last is None:
            missing = "--bad: nothing is live" if last is None else "--good: nothing was live before"
            raise UsageError(f"name a version with {missing}", "`--good base` compares with the base model")
        with _views(app, "kbsync bisect") as views:
            found = bisecting.bisect(app, views, prompt, (first, last), expect=expect, tell=say)
    if json:
        print_json({**plain(found), "builds": len(found.steps)})
        return
    _show_bisected(found)


@contextmanager
def _views(app: Application, purpose: str) -> Iterator[Views]:
    from kbsync.versions.building import views

    with live_progress() as progress, views(app, purpose, progress) as made:
        yield made


def _parse(app: Application) -> Callable[[str], datetime]:
    from kbsync.cli.instants import instant

    def parsed(text: str) -> datetime:
        found = instant(text, app.now())
        assert found is not None  # it is None only for no text
        return found

    return parsed


def _named(version: Version) -> dict[str, object]:
    """A version in JSON, without its facts."""
    checkpoint = version.checkpoint.id if version.checkpoint is not None else None
    return {
        "name": version.name,
        "checkpoint": checkpoint,
        "at": version.at,
        "facts": len(version.facts),
        "base": version.base,
    }


def _built_json(view: BuiltView) -> dict[str, object]:
    return {**plain(view), "passed": view.passed if view.judged else None}


def _show_as_of(found: AsOf) -> None:
    view = found.view
    if not found.built:
        say("this view was built before")
    if view.waiting:
        say(f"{view.waiting} facts of that date are left out: they are beyond [plan] capacity")
    past = "as the world was" if found.time == "world" else "as the ledger wanted it"
    _show_built(view, f"{past} on {found.at:%Y-%m-%d %H:%M} UTC", optimised=found.built)


def _show_built(view: BuiltView, title: str, *, optimised: bool = True) -> None:
    if optimised:
        say(f"{view.groups_optimised} edits were optimised, {view.groups_cached} were in the cache")
    for fact, reason in view.left_out.items():
        say(f"fact {fact} is left out: {reason}")
    if view.judged:
        rows = ((one.name, one.value, one.threshold, one.passed, one.detail) for one in view.gates)
        print_table("gates", ("gate", "value", "threshold", "passed", ""), rows)
    say(f"{title}: {view.facts} facts, digest {view.digest[:12]}")
    if not view.judged:
        say("not judged: no gate has seen it (--exam asks them)")
    say(f"written to {view.directory}; it does not go live")


def _show_conflicts(union: Union, own: str, other: str) -> None:
    print_table(
        f"{len(union.conflicts)} conflicts",
        ("subject", "relation", f"{own} here", f"{other} there", "source here", "source there"),
        (
            (
                one.own.subject_label,
                one.own.relation,
                one.own.target,
                one.other.target,
                one.own.source,
                one.other.source,
            )
            for one in union.conflicts
        ),
    )


def _show_changes(title: str, changes: Sequence[FactChange]) -> None:
    print_table(
        title,
        ("what", "subject", "relation", "before", "after", "source", "revision"),
        (
            (
                one.kind,
                one.fact.subject_label,
                one.relation,
                one.before.target if one.before else None,
                one.after.target if one.after else None,
                one.fact.source,
                one.fact.revision,
            )
            for one in changes
        ),
        empty="the same facts",
    )


def _show_answers(answers: AnswerChanges, before: str, after: str) -> None:
    print_table(
        f"{len(answers.changed)} of {answers.asked} answers differ",
        ("prompt", "expected", before, after),
        ((one.prompt, one.expected, one.before, one.after) for one in answers.changed),
    )


def _show_bisected(found: Bisected) -> None:
    say(f"{found.good} says {found.before!r}, {found.bad} says {found.after!r}")
    if found.doubt:
        say(f"{found.doubt}: the answer may have changed for another reason than a fact")
    say(
        f"{found.changes} changes, {len(found.steps)} builds, "
        f"{found.optimised} edits that the cache did not have"
    )
    _show_changes(f"this change broke the answer to {found.prompt!r}", [found.culprit])
