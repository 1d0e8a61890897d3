"""Options that commands share, and what stands before every command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.home import Home
    from kbsync.settings.sections import Settings

DEFAULT_HOME = Path("~/.local/share/kbsync")

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]

TimeOption = Annotated[
    Literal["world", "ledger"],
    typer.Option(
        help="Of a date: `world`, what was true then as the sources tell it today; `ledger`, what was wanted then by "
        "the log."
    ),
]


def _reason(text: str) -> str:
    from kbsync.reasons import checked

    return checked(text)


def _name(text: str) -> str:
    from kbsync.reasons import checked_name

    return checked_name(text)


Reason = Annotated[
    str, typer.Option(help="Why, in at least one word; recorded in the audit log.", callback=_reason)
]
Actor = Annotated[
    str,
    typer.Option(
        help="Who decides; recorded in the audit log together with the operating system's user.",
        envvar="USER",
        callback=_name,
    ),
]


@dataclass(frozen=True, slots=True)
class Globals:
    """The options that stand before every command."""

    home_root: Path
    config: Path | None

    def home(self) -> Home:
        """Raises BadConfiguration for a name that no home can have."""
        from kbsync.errors import BadConfiguration
        from kbsync.home import Home

        advice = "choose another directory with --home or KBSYNC_HOME"
        try:
            root = Path(
                os.path.expanduser(self.home_root)
            ).resolve()  # `~x` of no user is a name as any other
            str(root).encode()
            Home(root).config.exists()  # OSError: too long a name, or a directory above that nobody may enter
        except UnicodeEncodeError as error:
            raise BadConfiguration(f"the path of the home {self.home_root} is not UTF-8", advice) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise BadConfiguration(f"{str(self.home_root)!r} cannot be the home: {error}", advice) from error
        return Home(root)

    def settings(self, *, required: bool = True) -> Settings:
        """The settings in force; `required` says that a command is pointless without a settings file."""
        from kbsync import logs
        from kbsync.settings.loading import load

        default = self.home().config
        file = self.config or (default if required or default.exists() else None)
        settings = load(file)
        logs.configure(settings.log)
        return settings

    def application(self, *, required: bool = True) -> Application:
        """For commands that work: needs a settings file, unless `required` says otherwise."""
        from kbsync.application import Application

        return Application(self.home(), self.settings(required=required))

    def ledger(self) -> Application:
        """For commands that only look at, or decide about, what is in the ledger."""
        from kbsync.application import Application
        from kbsync.errors import BadConfiguration

        app = Application(self.home(), self.settings(required=False))
        if app.settings.state.url is None and not app.home.database.exists():
            raise BadConfiguration(
                f"there is no ledger in {app.home.root}",
                "name the right home with --home or KBSYNC_HOME, or start one with `kbsync init`, `kbsync sync`",
            )
        return app


def globals_of(context: typer.Context) -> Globals:
    found = context.find_object(Globals)
    assert found is not None
    return found
