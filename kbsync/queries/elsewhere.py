"""What needs torch, asked from a process that serves: in a process of its own, which ends with the answer."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TypeVar

from editing.storage.norms import MatrixNorms, compare_norms
from kbsync.application import Application
from kbsync.errors import KbsyncError, TryLater
from kbsync.home import Home
from kbsync.queries.answers import Answer, answers
from kbsync.queries.kept import kept_checkpoint
from kbsync.queries.weights import comparable
from kbsync.settings.sections import Settings

DEADLINE_S = 300.0
R = TypeVar("R")
WAIT_S = 20.0
"""How long a question waits for the one before it."""
_ANSWERS, _WEIGHTS = threading.Lock(), threading.Lock()
"""One process of each kind at a time, since each holds a model's weights."""


def answered_elsewhere(app: Application, prompt: str, checkpoints: Sequence[int] = ()) -> Answer:
    """What the base, live and the kept `checkpoints` answer; see `answers` for what it raises.

    Raises TryLater if another question is not answered within `WAIT_S`, or this one not within `DEADLINE_S`.
    """
    for id in checkpoints:
        kept_checkpoint(app, id)  # refused before a process is started
    return _elsewhere(app, _ANSWERS, partial(_answer, prompt=prompt, checkpoints=tuple(checkpoints)))


def weights_elsewhere(app: Application, before: int, after: int) -> tuple[MatrixNorms, ...]:
    """The norms of the edited matrices of two kept checkpoints; see `comparable` and `compare_norms` for errors.

    Raises TryLater as `answered_elsewhere` does.
    """
    return _elsewhere(app, _WEIGHTS, partial(_norms, *comparable(app, before, after)))


def _answer(app: Application, prompt: str, checkpoints: tuple[int, ...]) -> Answer:
    return answers(app, [prompt], checkpoints=checkpoints)[0]


def _norms(base: Path, before: Path, after: Path, app: Application) -> tuple[MatrixNorms, ...]:
    return compare_norms(base, before, after)


def _elsewhere(app: Application, one: threading.Lock, ask: Callable[[Application], R]) -> R:
    if not one.acquire(timeout=WAIT_S):
        raise TryLater("another question to the models is being answered", "ask again in a moment")
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    try:
        return pool.submit(_in_an_application, app.home, app.settings, ask).result(DEADLINE_S)
    except TimeoutError as error:
        raise TryLater(
            f"the models did not answer within {DEADLINE_S:.0f} seconds", "ask on the command line"
        ) from error
    except BrokenProcessPool as error:
        raise KbsyncError(
            "the process that loads the models ended unexpectedly", "it may have run out of memory"
        ) from error
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        one.release()


def _in_an_application(home: Home, settings: Settings, ask: Callable[[Application], R]) -> R:
    """In the other process."""
    with Application(home, settings) as app:
        return ask(app)
