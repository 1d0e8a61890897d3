"""Options of commands that list something a page at a time, and the hint at the next page."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.console import say

After = Annotated[int, typer.Option(min=0, help="Only with a larger number: the next page.")]
Before = Annotated[int | None, typer.Option(min=1, help="Only with a smaller number: the next page.")]
Oldest = Annotated[int, typer.Option(min=1, help="Maximum number to show, in order of their numbers.")]
Newest = Annotated[int, typer.Option(min=1, help="Maximum number to show, newest first.")]


def say_next(option: str, next: int | None, *, older: str = "there are more") -> None:
    """Say on stderr how the next page is shown, also beside JSON: a list that ends early must not look complete."""
    if next is not None:
        say(f"{older}: the next page is the same command with {option} {next}")
