"""`serve`, `tokens`: the review pages, and who may use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.service.heartbeat import Heartbeat


def register(app: typer.Typer) -> None:
    app.command()(serve)
    tokens = typer.Typer(
        help="Who may use the review pages from elsewhere: named secrets with a role and an end.",
        invoke_without_command=True,
    )
    tokens.callback()(listed)
    for command in (create, revoke):
        tokens.command()(command)
    tokens.command("list")(list_tokens)
    app.add_typer(tokens, name="tokens")


def serve(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0: any free one.")] = 8788,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
) -> None:
    """Serve the review pages until Ctrl-C: what is live, what waits, what happened, and the decisions.

    The daemon need not run: without one, this process carries out what is asked for in the pages. Where it runs,
    `[pages] listen` makes it serve them itself.
    """
    import signal

    from kbsync.settings.section import join_address

    with globals_of(context).ledger() as app:
        app.state.migrate()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: app.stopping.set())
        with _pages().serving(app, join_address(host, port)) as address:
            say(f"the review pages are at {address} (Ctrl-C ends them)")
            while not app.stopping.wait(3_600):
                pass


def _pages() -> ModuleType:
    """The module that serves; raises BadConfiguration where its packages are not installed."""
    from kbsync.errors import BadConfiguration

    try:
        from kbsync.pages import server
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"the review pages need the package {error.name}",
            "install them with `pip install 'kbsync[pages]'`",
        ) from error
    return server


@contextmanager
def daemon_pages(app: Application, heartbeat: Heartbeat) -> Iterator[None]:
    """Serve the pages in the daemon's process for the duration of the block, if `[pages] listen` is set."""
    listen = app.settings.pages.listen
    if listen is None:
        yield
        return
    from kbsync.application import Application

    with Application(app.home, app.settings, now=app.now) as own, _pages().serving(own, listen, heartbeat):
        yield


def listed(context: typer.Context, json: Json = False) -> None:
    """List tokens: names, roles and ends, never the secrets."""
    if context.invoked_subcommand is None:
        list_tokens(context, json)


def list_tokens(context: typer.Context, json: Json = False) -> None:
    """List tokens: names, roles and ends, never the secrets."""
    with globals_of(context).ledger() as app, app.state.read() as tx:
        found, now = tx.tokens(), app.now()
    if json:
        print_json(found)
        return
    print_table(
        "tokens",
        ("name", "role", "valid", "expires", "revoked", "created", "by"),
        ((t.name, t.role, t.is_valid(now), t.expires, t.revoked, t.created, t.created_by) for t in found),
    )


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who uses it: the actor of its decisions in the audit log.")],
    role: Annotated[
        str,
        typer.Option(
            help="viewer: look; reviewer: also decide about facts and candidates; operator: everything."
        ),
    ] = "viewer",
    days: Annotated[int, typer.Option(min=1, max=3_650, help="Days until it ends.")] = 90,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Create a token and print its secret, which is shown only now and stored nowhere."""
    from datetime import timedelta
    from typing import get_args

    from kbsync.errors import UsageError
    from state.records import Role

    roles: tuple[Role, ...] = get_args(Role)
    chosen = next((one for one in roles if one == role), None)
    if chosen is None:
        raise UsageError(f"{role!r} is not a role", f"choose one of {', '.join(roles)}")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise UsageError("a token's name is one line of 1 to 100 characters", "name who will use it")
    with globals_of(context).ledger() as app, app.state.write() as tx:
        token, secret = tx.create_token(name.strip(), chosen, app.now() + timedelta(days=days), actor)
    if json:
        print_json({"token": token, "secret": secret})
        return
    say(f"{token.name} is {token.role} until {token.expires:%Y-%m-%d}; the secret is not shown again:")
    typer.echo(secret)


def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The token's name.")],
    reason: Reason,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Refuse a token from now on, also in browsers that are signed in with it."""
    with globals_of(context).ledger() as app, app.state.write() as tx:
        revoked = tx.revoke_token(name, reason, actor)
    print_json({"token": revoked}) if json else say(f"{name} is revoked")
