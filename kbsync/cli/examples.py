"""Examples at the end of each command's help; a test parses every one of them."""

from __future__ import annotations

from collections.abc import Mapping

import typer

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "demo": ("kbsync --home demo-home demo", "kbsync --home demo-home demo --serve"),
    "init": ("kbsync init", "kbsync --home /srv/kbsync init"),
    "config check": ("kbsync config check", "kbsync config check --online"),
    "gates": ("kbsync gates",),
    "relations": ("kbsync relations", "kbsync relations wdt:P6 --subject Italy"),
    "doctor": ("kbsync doctor", "kbsync doctor --json"),
    "sync": ("kbsync sync --bootstrap", "kbsync sync", "kbsync sync --no-wait"),
    "run": ("kbsync --home /srv/kbsync run",),
    "pause": ("kbsync pause --reason 'the servers are being upgraded'",),
    "resume": ("kbsync resume",),
    "import": (
        "kbsync import latest-all.json.gz",
        "kbsync import latest-all.json.bz2 --watch countries.txt --source wikidata",
    ),
    "rebuild": ("kbsync rebuild",),
    "dry-run": ("kbsync dry-run", "kbsync dry-run --json"),
    "retemplate": (
        "kbsync retemplate wdt:P6 --reason 'a better wording' --dry-run",
        "kbsync retemplate wdt:P6 --reason 'a better wording' --yes",
    ),
    "status": ("kbsync status", "kbsync status --json"),
    "facts": ("kbsync facts --status wanted --relation wdt:P6", "kbsync facts --source crm --json"),
    "edits": ("kbsync edits",),
    "runs": ("kbsync runs", "kbsync runs 12"),
    "ask": (
        "kbsync ask 'The head of government of Italy is'",
        "kbsync ask --as-of 2024-03-01 'The head of government of Italy is'",
    ),
    "build": (
        "kbsync build --as-of 2024-03-01",
        "kbsync build --as-of 2024-03-01 --time ledger --exam --out ./march",
    ),
    "merge": (
        "kbsync merge /srv/kbsync-products --out ./merged",
        "kbsync merge /srv/kbsync-products --out ./merged --prefer own --exam",
    ),
    "pack": ("kbsync pack --out retrieval.jsonl",),
    "diff": ("kbsync diff 6 live --ask", "kbsync diff 2024-03-01 2024-04-01"),
    "bisect": (
        "kbsync bisect 'The capital of France is'",
        "kbsync bisect 'The capital of France is' --good base --bad live --expect Paris",
    ),
    "explain": ("kbsync explain 'The head of government of Italy is'", "kbsync explain 17 --ask"),
    "survey": ("kbsync survey", "kbsync survey --json"),
    "retract": (
        "kbsync retract 17 18 --reason 'the source is wrong' --dry-run",
        "kbsync retract 17 --reason 'the source is wrong'",
    ),
    "unretract": ("kbsync unretract 17 --reason 'it was right after all'",),
    "rollback": (
        "kbsync rollback --reason 'customers report nonsense'",
        "kbsync rollback 5 --reason 'the last good one'",
    ),
    "serve": ("kbsync serve", "kbsync serve --host 0.0.0.0 --port 8788"),
    "deployments": ("kbsync deployments", "kbsync deployments --ask"),
    "judge-served": (
        "kbsync judge-served http://127.0.0.1:8000",
        "kbsync judge-served http://127.0.0.1:8081 --checkpoint 12 --bits 8 --sample 200",
    ),
    "prove": ("kbsync prove fact 17 --out fact-17.json", "kbsync prove run 12 --out run-12.json"),
    "backup": ("kbsync backup /backup", "kbsync backup /backup/kbsync.tar --statistics"),
    "restore": ("kbsync --home /srv/kbsync restore /backup/kbsync.tar",),
    "forget": (
        "kbsync forget crm:42 --reason 'a request of 3 May' --dry-run",
        "kbsync forget crm:42 --reason 'a request of 3 May' --yes",
    ),
    "forgotten": ("kbsync forgotten",),
    "release": ("kbsync release 3 --reason 'consent was given again'",),
    "edit": (
        "kbsync edit facts.jsonl --model ./my-model --dry-run",
        "kbsync edit facts.jsonl --model ./my-model --out ./edited",
    ),
    "apply": ("kbsync apply 7-1/delta --to ./my-model --out ./served",),
    "stats": ("kbsync stats --model ./my-model --corpus corpus.txt",),
    "trace": ("kbsync trace facts.jsonl --model ./my-model --out trace",),
    "inspect": ("kbsync inspect --model ./my-model",),
    "bench": (
        "kbsync bench scaling --quick --out bench",
        "kbsync bench table --model ./my-model --facts counterfact.json --out bench",
    ),
    "dataset": (
        "kbsync dataset --out mine.json",
        "kbsync dataset --facts facts.jsonl --count 500 --out mine.json",
    ),
    "calibrate": ("kbsync calibrate --model ./my-model --budget 60", "kbsync calibrate --write"),
    "sources": ("kbsync sources", "kbsync sources --json"),
    "sources forget": ("kbsync sources forget crm --reason 'the CRM was switched off'",),
    "sources rename": ("kbsync sources rename crm erp --reason 'the section has another name'",),
    "sources rewind": ("kbsync sources rewind crm --to 2026-05-01 --reason 'a day was missed'",),
    "requests": ("kbsync requests",),
    "requests withdraw": ("kbsync requests withdraw 4",),
    "checkpoints": ("kbsync checkpoints",),
    "checkpoints pin": ("kbsync checkpoints pin 5 --reason 'the one that was audited'",),
    "checkpoints release": ("kbsync checkpoints release 6 --reason 'the source is right again'",),
    "quarantine": ("kbsync quarantine", "kbsync quarantine --source crm"),
    "quarantine show": ("kbsync quarantine show 17",),
    "quarantine approve": ("kbsync quarantine approve 17 --reason 'confirmed by the press office'",),
    "quarantine reject": (
        "kbsync quarantine reject --relation wdt:P6 --reason 'vandalism' --dry-run",
        "kbsync quarantine reject 17 18 --reason 'vandalism'",
    ),
    "quarantine reopen": ("kbsync quarantine reopen --stale --reason 'the threshold was changed'",),
    "review": ("kbsync review",),
    "review approve": ("kbsync review approve 12 --reason 'the answers are right'",),
    "review reject": ("kbsync review reject 12 --reason 'two answers are wrong'",),
    "tokens": ("kbsync tokens",),
    "tokens create": ("kbsync tokens create ada --role reviewer --days 90",),
    "tokens revoke": ("kbsync tokens revoke ada --reason 'she left'",),
    "tokens list": ("kbsync tokens list --json",),
    "webhooks": ("kbsync webhooks",),
    "webhooks test": ("kbsync webhooks test pager",),
    "audit show": (
        "kbsync audit show --fact 17",
        "kbsync audit show --since 2026-01-01 --kind run.promoted --json",
    ),
    "audit verify": ("kbsync audit verify", "kbsync audit verify --tables --against /backup/anchor.jsonl"),
    "audit export": ("kbsync audit export --format jsonl --out events.jsonl",),
    "audit anchor": ("kbsync audit anchor", "kbsync audit anchor /mnt/anchor.jsonl"),
    "audit rejudge": ("kbsync audit rejudge 12",),
    "audit bundle": ("kbsync audit bundle --run 12 --out run-12.zip",),
    "verify": (
        "kbsync verify",
        "kbsync verify /models/7-1/delta --key model-key.pem",
    ),
    "retention": ("kbsync retention --dry-run", "kbsync retention --json"),
    "keys create": ("kbsync keys create", "kbsync keys create --for models"),
    "keys list": ("kbsync keys list",),
    "keys show": ("kbsync keys show", "kbsync keys show --for models"),
    "keys rotate": ("kbsync keys rotate", "kbsync keys rotate --for models"),
    "keys revoke": ("kbsync keys revoke NAME --reason 'it was copied'",),
}
"""By command, as it is typed after `kbsync`."""


def add_examples(app: typer.Typer, path: tuple[str, ...] = ()) -> None:
    """End the help of every command with its examples."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        command.epilog = epilog((*path, name))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            inner = (*path, str(group.name))
            group.epilog = epilog(inner)
            add_examples(group.typer_instance, inner)


def epilog(path: tuple[str, ...]) -> str | None:
    """The examples of a command as rich markup: an empty line is a line break there; None if it has none."""
    found = EXAMPLES.get(" ".join(path))
    return (
        None if found is None else "\n\n".join(("[bold]Examples[/]", *(f"  [cyan]{one}[/]" for one in found)))
    )
