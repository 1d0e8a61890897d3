"""A dataclass stands for the options of a command that are its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from kbsync.cli.option_groups import grouped


@dataclass(frozen=True, slots=True)
class Named:
    words: Annotated[list[str] | None, typer.Argument(help="Any number.")] = None
    size: Annotated[int, typer.Option(min=1, help="How large.")] = 2


@dataclass(frozen=True, slots=True)
class Required:
    owner: Annotated[str, typer.Option(help="Who.")]


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @grouped
    def told(
        context: typer.Context,
        named: Named,
        by: Required,
        loud: Annotated[bool, typer.Option("--loud", help="Loudly.")] = False,
    ) -> None:
        """What was typed."""
        assert context.info_name
        typer.echo((named, by, loud))

    return app


def test_the_fields_are_options_with_their_defaults_and_bounds(app: typer.Typer) -> None:
    typed = CliRunner().invoke(app, ["a", "b", "--owner", "me", "--loud"])
    assert typed.stdout == f"{(Named(['a', 'b'], 2), Required('me'), True)}\n"
    assert CliRunner().invoke(app, ["--owner", "me", "--size", "0"]).exit_code == 2


def test_a_field_without_a_default_is_required_wherever_it_stands(app: typer.Typer) -> None:
    typed = CliRunner().invoke(app, [])
    assert typed.exit_code == 2
    assert "--owner" in typed.output


def test_the_help_names_every_field_and_no_group(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "What was typed." in shown
    assert all(name in shown for name in ("--size", "--owner", "--loud", "words"))
    assert "--named" not in shown
