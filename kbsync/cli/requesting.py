"""How commands ask whoever leads, and what they print meanwhile; `requests`: what was asked."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.options import Actor, Json, globals_of
from kbsync.console import live_progress, print_json, print_table, say
from kbsync.errors import KbsyncError

if TYPE_CHECKING:
    from kbsync.application import Application
    from state import Transaction
    from state.records import Request

NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave the request in the ledger and do not wait for its answer.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What operators asked of the daemon.", invoke_without_command=True)
    group.callback()(requests)
    group.command("withdraw")(withdraw)
    app.add_typer(group, name="requests")


class RequestRefused(KbsyncError):
    """Whoever carried the request out refused it; has the exit code of the error that it was refused for."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        from kbsync.cli.failures import code_named

        super().__init__(str(answer["message"]), answer.get("advice"))
        self.exit_code = code_named(str(answer["kind"]))  # type: ignore[misc]


def have_done(
    app: Application,
    action: str,
    resolve: Callable[[Transaction], Mapping[str, Any]],
    *,
    reason: str,
    actor: str,
    no_wait: bool = False,
    json: bool = False,
) -> dict[str, Any] | None:
    """Ask whoever leads, or do it here where nobody does; the answer, or None with `no_wait`.

    With `no_wait` the request is printed, as JSON if `json`.

    Raises what `resolve` raises, and RequestRefused.
    """
    from kbsync.service.requests import ask, wait_for

    asked = ask(app, action, resolve, reason=reason, actor=actor)
    if no_wait and json:
        print_json({"request": asked})
        return None
    if no_wait:
        say(f"request {asked.id} ({action}) waits to be carried out; `kbsync requests` shows its answer")
        return None
    with live_progress() as progress:
        done = wait_for(app, asked.id, progress=progress, waiting=_Watch(app, asked.id))
    answer: dict[str, Any] = jsons.loads(done.answer)
    if done.state == "refused":
        raise RequestRefused(answer)
    if done.state == "withdrawn":
        raise KbsyncError(f"request {done.id} was withdrawn", "`kbsync requests` shows by whom")
    return answer


class _Watch:
    """Prints what the leader is doing while a command waits for it."""

    def __init__(self, app: Application, id: int) -> None:
        self.app, self.id = app, id
        self._seen: dict[int, str] = {}
        self._said = False

    def __call__(self) -> None:
        with self.app.state.read() as tx:
            lease = tx.lease("leader")
            runs = tx.open_runs()
        if not self._said:
            self._said = True
            who = f" by {lease.holder}" if lease else ""
            say(f"request {self.id} is being carried out{who}; Ctrl-C does not withdraw it")
        for run in runs:
            if self._seen.get(run.id) != run.state:
                self._seen[run.id] = run.state
                say(f"run {run.id}: {run.state}")


def requests(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number to show, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List what was asked of the daemon, and what came of it."""
    if context.invoked_subcommand is not None:
        return
    with globals_of(context).ledger() as app, app.state.read() as tx:
        found = tx.requests(limit=limit)
    if json:
        print_json(found)
        return
    print_table(
        "requests",
        ("id", "action", "arguments", "state", "actor", "reason", "asked", "updated", "answer"),
        (
            (r.id, r.action, r.arguments, r.state, r.actor, r.reason, r.created, r.updated, _outcome(r))
            for r in found
        ),
    )


def _outcome(request: Request) -> str:
    """Why it was refused, or its answer in short."""
    answer = jsons.loads(request.answer)
    return str(answer.get("message") or request.answer)[:80] if answer else ""


def withdraw(
    context: typer.Context,
    request: Annotated[int, typer.Argument(help="Its id.")],
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Take back a request that has not been started."""
    with globals_of(context).ledger() as app, app.state.write() as tx:
        withdrawn = tx.withdraw_request(request, actor)
    if json:
        print_json({"request": withdrawn})
    else:
        say(f"request {request} was withdrawn")
