"""`sources`: how reading each source goes, and what to do about sources that left the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from state import Transaction


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Where facts come from, and how reading it goes.", invoke_without_command=True)
    group.callback()(sources)
    group.command("forget")(forget)
    group.command("rename")(rename)
    group.command("rewind")(rewind)
    app.add_typer(group, name="sources")


def sources(context: typer.Context, json: Json = False) -> None:
    """Show each source: when it was last read, its last error, when it is asked again, and what it states.

    Sources that left the settings are listed as long as their statements count.
    """
    from kbsync.queries.sources import source_states

    if context.invoked_subcommand is not None:
        return
    with globals_of(context).ledger() as app, app.state.read() as tx:
        found = source_states(app, tx)
    if json:
        print_json(found)
        return
    print_table(
        "sources",
        (
            "name",
            "kind",
            "last read",
            "errors in a row",
            "last error",
            "at",
            "asked again",
            "rejected rows",
            "slots",
            "facts",
        ),
        (
            (
                one.name,
                one.kind or "not in the settings",
                one.last_success,
                one.failures,
                one.last_error,
                one.last_failure,
                one.asked_again,
                one.rejected,
                one.slots,
                ", ".join(f"{count} {status}" for status, count in sorted(one.facts.items())),
            )
            for one in found
        ),
        empty="none",
    )
    for one in found:
        if not one.kind:
            say(f"{one.name}: {one.how()}")
        for notice in one.notices():
            say(f"{one.name}: {notice}")


def forget(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A source that was taken out of the settings.")],
    reason: Reason,
    namespace: Annotated[
        str | None,
        typer.Option(
            help="Only what it stated of subjects with this prefix, such as crm; it may still be read."
        ),
    ] = None,
    actor: Actor = "operator",
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Remove what a source stated: it no longer counts, and facts that no other source states are retracted."""
    from kbsync.errors import UsageError
    from kbsync.service.actions import check_left

    with globals_of(context).application() as app:

        def resolve(tx: Transaction) -> dict[str, str | None]:
            check_left(app, name, namespace)
            known = tx.count_namespaces().get(name, {})
            if not known or (namespace is not None and namespace not in known):
                what = f"a slot of `{namespace}:` from {name}" if namespace else f"a source {name}"
                raise UsageError(f"the ledger does not have {what}", "`kbsync sources` lists what it has")
            return {"source": name, "namespace": namespace}

        answer = have_done(
            app, "forget-source", resolve, reason=reason, actor=actor, no_wait=no_wait, json=json
        )
    if answer is not None and json:
        print_json({"source": name, **answer})
    elif answer is not None:
        say(f"{name}: forgotten in {answer['slots']} slots, with which {answer['facts']} facts changed")


def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="Its name in the ledger.")],
    new: Annotated[str, typer.Argument(help="Its name in the settings.")],
    reason: Reason,
    actor: Actor = "operator",
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Continue with a source that has another name in the settings now; nothing is read again."""
    from kbsync.errors import UsageError
    from kbsync.service.actions import check_configured, check_left

    with globals_of(context).application() as app:

        def resolve(tx: Transaction) -> dict[str, str]:
            check_left(app, old)
            check_configured(app, new)
            if old not in tx.count_watched():
                raise UsageError(f"the ledger does not have a source {old}", "`kbsync sources` lists them")
            return {"source": old, "to": new}

        answer = have_done(
            app, "rename-source", resolve, reason=reason, actor=actor, no_wait=no_wait, json=json
        )
    if answer is not None and json:
        print_json({"source": old, "to": new, **answer})
    elif answer is not None:
        say(f"{old} is {new} now, in {answer['slots']} slots and {answer['facts']} facts")


def rewind(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A source in the settings.")],
    reason: Reason,
    to: Annotated[
        str | None,
        typer.Option(
            help="Read again what changed since then: 2026-05-01, 2026-05-01T12:00 (UTC), or how long ago: 24h. "
            "Default: everything."
        ),
    ] = None,
    actor: Actor = "operator",
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Read a source again since an instant, or from its beginning; its next poll does it.

    What is read again changes nothing where the ledger has it already.
    """
    from kbsync.cli.instants import instant
    from kbsync.service.actions import check_configured, rewindable

    with globals_of(context).application() as app:
        since = instant(to, app.now())

        def resolve(tx: Transaction) -> dict[str, str | None]:
            check_configured(app, name)
            rewindable(app, name)
            return {"source": name, "to": since.isoformat() if since else None}

        answer = have_done(
            app, "rewind-source", resolve, reason=reason, actor=actor, no_wait=no_wait, json=json
        )
    if answer is not None and json:
        print_json(answer)
    elif answer is not None:
        what = f"what changed since {answer['to']}" if answer["to"] else "everything"
        say(f"{name}: the next poll reads {what} again")
