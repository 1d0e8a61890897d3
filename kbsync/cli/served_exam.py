"""`judge-served`: whether a served model, quantised perhaps, answers as the version that the gates judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json, globals_of
from kbsync.console import live_progress, plain, print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.deployment.http import Server
    from kbsync.deployment.served_exam import ServedExam
    from state.records import Checkpoint

_TIMEOUT_S = 120.0
_SHOWN = 10
_LONGEST = 60


@dataclass(frozen=True)
class WhichServer:
    """A server that is asked, and as what."""

    url: Annotated[
        str, typer.Argument(metavar="URL", help="Base URL of an OpenAI-compatible server, without /v1.")
    ]
    model: Annotated[
        str | None, typer.Option(help="Name of the model there; default: the first one that it lists.")
    ] = None
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the server's token.")
    ] = None

    def connect(self) -> Server:
        """Raises UsageError for an address that no server can have."""
        from pydantic import TypeAdapter, ValidationError

        from kbsync.deployment.http import Server
        from kbsync.errors import UsageError
        from kbsync.settings.hook import Url, read_secret

        try:
            checked = TypeAdapter(Url).validate_python(self.url)
        except ValidationError as error:
            raise UsageError(
                f"{self.url!r} is not the address of a server: {error.errors()[0]['msg']}",
                "give a base URL such as http://127.0.0.1:8000",
            ) from error
        return Server(checked.removesuffix("/v1"), read_secret(self.token_env, None), _TIMEOUT_S)


def register(app: typer.Typer) -> None:
    app.command("judge-served")(judge_served)


@grouped
def judge_served(
    context: typer.Context,
    server: WhichServer,
    checkpoint: Annotated[
        int | None,
        typer.Option(help="The checkpoint that it serves, by number; default: the live one."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Maximum number of questions to ask.")] = 100,
    bits: Annotated[
        int,
        typer.Option(
            min=2, max=32, help="Bits in which weights are served; fewer explain larger differences."
        ),
    ] = 16,
    chat: Annotated[
        bool,
        typer.Option("--chat/--no-chat", help="Whether questions in conversations are asked too."),
    ] = True,
    json: Json = False,
) -> None:
    """Ask a server a sample of a checkpoint's exam, and compare its answers with those that the gates judged.

    A difference that rounding explains, to 16 bits or as --bits says, is told apart from one that it does not. Nothing
    is recorded, so that a program that converts a checkpoint can ask before traffic moves. Exit code 10: an answer
    differs, and rounding does not explain it. 75: the server cannot be asked.
    """
    from kbsync.deployment import served_exam

    options = served_exam.ExamOptions(model=server.model, count=sample, bits=bits, chat=chat)
    with globals_of(context).ledger() as app, live_progress() as progress:
        found = served_exam.judge_served(app, _chosen(app, checkpoint), server.connect(), options, progress)
    if json:
        print_json({**plain(found), "as_judged": not found.unexplained})
    else:
        _show(found, bits)
    if found.unexplained:
        raise typer.Exit(10)


def _chosen(app: Application, id: int | None) -> Checkpoint:
    from kbsync.errors import UsageError

    with app.state.read() as tx:
        found = tx.live() if id is None else tx.checkpoint(id)
    if found is None:
        raise UsageError(
            "no checkpoint is live", "name one with --checkpoint; `kbsync checkpoints` lists them"
        )
    return found


def _show(found: ServedExam, bits: int) -> None:
    print_table(
        f"{found.model} beside {found.version}",
        ("kind", "asked", "as judged", "differing, explained by rounding", "differing, not explained"),
        found.by_kind(),
    )
    if found.unexplained:
        print_table(
            "not explained by rounding",
            ("kind", "prompt", "as judged", "served", "moved by"),
            (
                (
                    one.question.kind,
                    one.question.prompt,
                    "(states the fact)" if one.question.judged is None else one.question.judged,
                    one.served.strip()[:_LONGEST],
                    one.gap,
                )
                for one in found.unexplained[:_SHOWN]
            ),
        )
    basis = "as measured when it was built" if found.measured else "which was not measured for this version"
    say(f"rounding to {bits} bits explains up to {found.explained:.3f} between two logits, {basis}")
