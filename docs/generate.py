"""Write the reference pages that are made from the code: `python docs/generate.py`.

A test runs the same functions and fails when a page is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kbsync import errors
from kbsync.admission.doubts import RULES
from kbsync.admission.policy import Rules
from kbsync.cli.app import app
from kbsync.cli.examples import EXAMPLES
from kbsync.cli.failures import EXIT_CODES, codes
from kbsync.gates import DEFAULT_GATES
from kbsync.settings.deploy import KINDS
from kbsync.settings.hook import HookSettings
from kbsync.settings.sections import Settings

DOCS = Path(__file__).parent
NOTE = "<!-- Made by `python docs/generate.py`; do not edit. -->\n"


def settings_page() -> str:
    """Every key of kbsync.toml with its type, default and meaning."""
    lines = [
        NOTE,
        "# Settings",
        "",
        "`kbsync init` writes a commented `kbsync.toml`; `kbsync config check` says what is wrong with one.",
        "Every key can be overridden by a variable: `[plan] capacity` is `KBSYNC_PLAN__CAPACITY`.",
        "Durations are seconds or text such as `90s`, `15m`, `24h`, `3d`. Unknown keys are errors.",
        "",
        "Sources have settings of their own kind: see [connectors.md](connectors.md).",
        "",
    ]
    for name, field in Settings.model_fields.items():
        lines += _hooks() if name == "deploy" else _section(name, field)
    return "\n".join(lines)


def _hooks() -> Iterator[str]:
    """`[deploy.NAME]`: what every kind has, then the keys of each kind."""
    yield "## `[deploy.NAME]`"
    yield ""
    yield "One table for each deploy hook, which is called at every promotion: see [deploying.md](deploying.md)."
    yield ""
    yield from _keys(HookSettings, {"kind"})
    for kind in KINDS:
        (name,) = get_args(kind.model_fields["kind"].annotation)
        yield f'`kind = "{name}"`: {" ".join((kind.__doc__ or "").split())}'
        yield ""
        yield from _keys(kind, {"kind", *HookSettings.model_fields})


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    model = _model_of(field.annotation)
    repeated = get_origin(field.annotation) is dict
    yield f"## `[{name}{'.NAME' if repeated else ''}]`" if model or repeated else f"## `{name}`"
    yield ""
    if model is None:
        yield field.description or f"{_documented_elsewhere(name)}"
        yield ""
        return
    if model.__doc__:
        yield " ".join(model.__doc__.split())
        yield ""
    yield from _keys(model, set())
    for key, inner in model.model_fields.items():
        nested = None if get_origin(inner.annotation) is dict else _model_of(inner.annotation)
        if nested is not None and not repeated:
            yield f"`[{name}.{key}]`: {' '.join((nested.__doc__ or '').split())}"
            yield ""
            yield from _keys(nested, set())
    if repeated:
        for key, inner in model.model_fields.items():
            if get_origin(inner.annotation) is dict and (nested := _model_of(inner.annotation)):
                yield f"`[{name}.NAME.{key}.NAME]`: {' '.join((nested.__doc__ or '').split())}"
                yield ""
                yield from _keys(nested, set())


def _keys(model: type[BaseModel], without: set[str]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, inner in model.model_fields.items():
        if key not in without:
            default = (
                "required" if inner.is_required() else _shown(inner.get_default(call_default_factory=True))
            )
            yield f"| `{inner.alias or key}` | {default} | {inner.description or ''} |"
    yield ""


def _documented_elsewhere(name: str) -> str:
    return {
        "sources": "One table a source: `kind` and that kind's keys, see [connectors.md](connectors.md).",
        "relations": "Relations of one's own and overrides, see [admission.md](admission.md).",
    }[name]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _shown(default: Any) -> str:
    if isinstance(default, BaseModel):
        return "its defaults"
    if default is None:
        return "unset"
    if default in ((), {}, frozenset()):
        return "none"
    if hasattr(default, "total_seconds"):
        seconds = int(default.total_seconds())
        for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
            if seconds and seconds % size == 0:
                return f"`{seconds // size}{unit}`"
        return f"`{seconds}s`"
    return f"`{default}`"


def commands_page() -> str:
    """Every command with its help text, and the exit codes."""
    root = typer.main.get_command(app)
    lines = [
        NOTE,
        "# Commands",
        "",
        "`--home DIR` (or `KBSYNC_HOME`) and `--config FILE` (or `KBSYNC_CONFIG`) may stand before or after",
        "any command. `--json` prints results on stdout; progress and logs go to stderr.",
        "Characters that a terminal would obey or hide are shown as `\\u…` escapes.",
        "",
        "Exit codes: see [exit-codes.md](exit-codes.md). In a pipe or a file, tables and progress are plain text.",
        "",
        "    kbsync --install-completion     # the shell then completes commands and options",
        "",
    ]
    for path, command in _commands(root, ()):
        lines += _command(path, command)
    return "\n".join(lines)


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if path and (inner is None or getattr(command, "invoke_without_command", False)):
        yield path, command
    for name in sorted(inner or ()):
        yield from _commands(inner[name], (*path, name))


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(_bracketed(p) for p in arguments)
    yield f"## `kbsync {' '.join(path)}{f' {usage}' if usage else ''}`"
    yield ""
    yield " ".join((command.help or "").split())
    yield ""
    for example in EXAMPLES.get(" ".join(path), ()):
        yield f"    {example}"
    yield ""
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    if options or any(getattr(p, "help", None) for p in arguments):
        yield "| option | meaning |"
        yield "|---|---|"
        for parameter in (*arguments, *options):
            names = ", ".join(f"`{opt}`" for opt in parameter.opts if opt.startswith("-"))
            names = names or f"`{(parameter.name or '').upper()}`"
            yield f"| {names}{' (required)' if parameter.required else ''} | {getattr(parameter, 'help', '') or ''} |"
        yield ""


def _bracketed(parameter: Any) -> str:
    name = (parameter.name or "").upper()
    return name if parameter.required else f"[{name}]"


def exit_codes_page() -> str:
    """Every exit code, with the errors that end a command with it."""
    lines = [
        NOTE,
        "# Exit codes",
        "",
        "Every command ends with one of these codes, and says on stderr what was wrong, where, and what to do. Scripts",
        "may rely on them; the systemd unit restarts the daemon after any failure but 2 and 78.",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()),
        "",
        "## Commands that say more with their code",
        "",
        "| command | code |",
        "|---|---|",
        "| `kbsync sync`, `kbsync rebuild` | 10 if a gate rejected a run, 1 if a run failed, "
        "75 if a source or a server was not available |",
        "| `kbsync config check` | 78 if a setting cannot work; with `--online` 75 if a source does not answer now |",
        "| `kbsync doctor` | 78 if something has to be changed, 75 if something does not answer now |",
        "| `kbsync audit verify` | 65 if the log, an anchor or a row is not what it should be |",
        "| `kbsync verify` | 65 if a file, a tensor, the signature or the bill of materials differs |",
        "",
        "## Errors by code",
        "",
        "An error that is not in this table has the code of the class that it is derived from.",
        "",
        "| error | code |",
        "|---|---|",
        *(f"| `{name}` | {code} |" for name, code in sorted(errors_with_codes().items())),
        "",
    ]
    return "\n".join(lines)


def errors_with_codes() -> dict[str, int]:
    """The errors that end a command on purpose, and their exit codes; others have that of their nearest ancestor."""
    own = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KbsyncError)
    ]
    return {kind.__name__: code for kind, code in codes().items()} | {
        kind.__name__: kind.exit_code for kind in own
    }


def gates_page() -> str:
    """The page as it is, with the table of the gates."""
    before, marked, after = _parts((DOCS / "gates.md").read_text(encoding="utf-8"), "gates")
    rows = [
        "| gate | passes when | margin to live | a failure is traced to | what it measures |",
        "|---|---|---|---|---|",
    ]
    for gate in DEFAULT_GATES:
        margin = "" if gate.margin is None else f"{gate.margin:g}"
        traced = "single facts" if gate.judges_facts else "the candidate as a whole"
        condition = gate.condition if gate.enabled else f"off; {gate.condition}"
        rows.append(f"| `{gate.name}` | {condition} | {margin} | {traced} | {gate.explains} |")
    return "\n".join((before, marked, *rows, after))


def admission_page() -> str:
    """The page as it is, with the table of the rules that doubt one value."""
    before, marked, after = _parts((DOCS / "admission.md").read_text(encoding="utf-8"), "doubts")
    rows = ["| code | when | setting | approval |", "|---|---|---|---|"]
    for rule in RULES:
        approval = "lets it in" if rule.approvable else "none"
        rows.append(
            f"| `{rule.code}` | {rule.text} | {', '.join(map(_rule_setting, rule.settings))} | {approval} |"
        )
    return "\n".join((before, marked, *rows, after))


def _rule_setting(name: str) -> str:
    return f"`{name}` ◦ ({_shown(Rules.model_fields[name].default)})"


def _parts(text: str, name: str) -> tuple[str, str, str]:
    """Text before a generated block, the block's first line, and text from its last line on."""
    begin, end = f"<!-- {name}: made by `python docs/generate.py` -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin + "\n")
    _, _, after = rest.partition(end)
    return before.rstrip("\n") + "\n", begin + "\n", f"\n{end}{after}"


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "exit-codes.md": exit_codes_page,
    "gates.md": gates_page,
    "admission.md": admission_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"wrote docs/{name}")
