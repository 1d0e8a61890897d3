"""The story of `kbsync demo --pretrained`: a real chat model, asked as people ask.

A pretrained model states what was true when it was trained.  News is edited into it through the ordinary ledger,
gates and promotion, and a rollback takes it out again; the model's answers are compared at each step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from editing.progress import TimedProgress, silent
from kbsync.console import live_progress, print_table, say
from kbsync.demo import pretrained, tally
from kbsync.demo.chat_facts import KNOWN, NEWS, UNTOUCHED, Item, as_csv
from kbsync.demo.setting import HERE, TEXT, StoryClock, prepare, refuse_foreign
from kbsync.demo.telling import Telling
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.runs import promotion

DAY_ONE = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the answers of three models through the chat template."""

    question: str
    wanted: str
    """The object in the news; empty for a question that nothing was changed about."""
    before: str
    after: str
    rolled_back: str

    @property
    def says(self) -> bool:
        """Whether the edited model's answer contains the new object."""
        return bool(self.wanted) and self.wanted in self.after


@dataclass(frozen=True, slots=True)
class ChatOutcome:
    """What `kbsync demo --pretrained --json` prints."""

    model: str
    live: str
    asked: list[Asked]
    gates: list[tally.StoryGate]
    runs: list[tally.StoryRun]
    seconds: float


def tell(home: Home, *, quiet: bool = False) -> ChatOutcome:
    """Run the story in `home`, which is kept; `quiet`: print no tables on stdout.

    Sets the pretrained model up first if needed; raises the errors of `pretrained.set_up`.
    """
    refuse_foreign(home)
    model = pretrained.set_up()
    started = time.monotonic()
    prepare(home)
    with nullcontext(silent) if quiet else live_progress() as progress:
        return _ChatStory(home, model, progress, quiet=quiet).tell(started)


def write_settings(home: Home, model: Path) -> Path:
    """The settings file of the story's home."""
    folder = home.root / "news"
    folder.mkdir()
    lines = [
        "# Written by `kbsync demo --pretrained`.",
        "",
        "[model]",
        f"path = {json.dumps(str(model))}",
        f"corpus = [{json.dumps(str(TEXT / 'chat.jsonl'))}]",
        f"heldout = {json.dumps(str(TEXT / 'prose.txt'))}",
        "",
        "[sources.news]",
        'kind = "files"',
        f"folder = {json.dumps(str(folder))}",
        'namespace = "demo"',
        "",
        (HERE / "chat.toml").read_text(encoding="utf-8"),
    ]
    home.config.write_text("\n".join(lines), encoding="utf-8")
    return home.config


class _ChatStory(Telling):
    trigger = "kbsync demo --pretrained"

    def __init__(self, home: Home, model: Path, progress: TimedProgress, *, quiet: bool) -> None:
        self.model = model
        self.questions = [*(item.question for item in NEWS), *UNTOUCHED]
        super().__init__(home, write_settings(home, model), StoryClock(DAY_ONE), progress, quiet=quiet)

    def tell(self, started: float) -> ChatOutcome:
        with self.app:
            before = self._answers(self.model)
            with self.leading() as leadership:
                self._begin(leadership)
                self._take_the_news(leadership)
                after = self._live_answers()
                self._roll_back(leadership)
            asked = self._compared(before, after, self._live_answers())
            outcome = ChatOutcome(
                model=str(self.model),
                live=str(self.app.home.live),
                asked=asked,
                gates=tally.gates(self.app),
                runs=tally.runs(self.app),
                seconds=round(time.monotonic() - started, 1),
            )
        if not self.quiet:
            self._show(outcome)
        return outcome

    def _begin(self, leadership: Leadership) -> None:
        self.chapter("1", "A pretrained chat model, and a knowledge base that agrees with it")
        self._deliver("known.csv", KNOWN)
        self.sync_until_live(leadership, bootstrap=True)

    def _take_the_news(self, leadership: Leadership) -> None:
        self.chapter("2", f"{len(NEWS)} facts change: some since the model was trained, some are invented")
        self._deliver("news.csv", NEWS)
        self.clock.turn_to(self.clock() + timedelta(days=1))
        self.sync_until_live(leadership)

    def _roll_back(self, leadership: Leadership) -> None:
        self.chapter("3", "An operator rolls back, and the model answers as it did before")
        left, now = promotion.rollback(
            self.app, leadership, target=None, reason="demo: a second look", actor="operator"
        )
        self.line(f"live is checkpoint {now.id} again, {left.id} is blocked")

    def _deliver(self, name: str, items: Sequence[Item]) -> None:
        (self.app.home.root / "news" / name).write_text(as_csv(items), encoding="utf-8")
        self.line(f"{len(items)} facts in {name}")

    def _live_answers(self) -> list[str]:
        with self.app.state.read() as tx:
            live = tx.live()
        return self._answers(self.app.home.checkpoint(live.path) if live else self.model)

    def _answers(self, directory: Path) -> list[str]:
        """What the model in `directory` answers to every question, through its chat template."""
        from transformers.utils.logging import disable_progress_bar

        from editing.evaluation.conversation import chat_answers
        from editing.model.loading import load_model, load_tokenizer

        disable_progress_bar()
        model, tokenizer = load_model(directory, device="cpu"), load_tokenizer(directory)
        return chat_answers(model, tokenizer, self.questions)

    def _compared(self, before: Sequence[str], after: Sequence[str], back: Sequence[str]) -> list[Asked]:
        wanted = [*(item.object for item in NEWS), *("" for _ in UNTOUCHED)]
        rows = zip(self.questions, wanted, before, after, back, strict=True)
        return [Asked(question, new, *said) for question, new, *said in rows]

    def _show(self, outcome: ChatOutcome) -> None:
        print_table(
            "asked through the chat template",
            ("question", "wanted", "before", "after", "rolled back"),
            ((a.question, a.wanted, a.before, a.after, a.rolled_back) for a in outcome.asked),
        )
        changed = [a for a in outcome.asked if a.wanted]
        same = [a for a in outcome.asked if not a.wanted and a.after == a.before]
        say(
            f"{sum(a.says for a in changed)} of {len(changed)} new facts are stated in conversation; "
            f"{len(same)} of {len(outcome.asked) - len(changed)} other answers are word for word as before."
        )
        say(f"{outcome.seconds:.0f} s. The home is kept; try, for example:")
        for command in ("status", "runs 2", 'ask "The capital of Norway is"', "audit verify"):
            say(f"  kbsync --home {self.app.home.root} {command}")
