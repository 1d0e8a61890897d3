"""`python -m kbsync.lm_eval_gate`: the accuracy of candidate, live and base on local tasks, by lm-eval.

It is a gate command and imports nothing of kbsync, so that the Python of another environment, with lm-eval and without
kbsync, runs it by its path.  Nothing is fetched: models are directories, and tasks are YAML files beside their data.

For each task it prints `TASK`, the share of questions that the candidate answers right, beside live's; and
`TASK_to_base`, by how much the candidate's share is above the base's.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).with_name("tasks")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

Hits = dict[str, list[bool]]
"""Task → for each of its questions, whether it was answered right."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kbsync.lm_eval_gate", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--tasks", type=Path, default=EXAMPLE, help="folder of task files (default: an example)"
    )
    parser.add_argument("--task", action="append", help="a task of the folder; default: all of them")
    parser.add_argument(
        "--metric", default="acc", help="metric of 0 or 1 a question, such as acc or exact_match"
    )
    parser.add_argument("--limit", type=int, help="ask so many questions of each task only")
    parser.add_argument("--device", default="cpu", help="where the models run, such as cuda:0")
    parser.add_argument("--dtype", default="auto", help="dtype of the weights")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--chat", action="store_true", help="put questions through the chat template")
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder that keeps what was measured, so that live and base are measured once",
    )
    for name in ("candidate", "live", "base"):
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(f"KBSYNC_{name.upper()}", ""),
            help=f"directory; default: KBSYNC_{name.upper()}",
        )
    found = parser.parse_args(argv)
    if not found.candidate:
        parser.error("no candidate: give --candidate, or run this as a gate command")
    return found


def measured(
    model: str, options: argparse.Namespace, evaluate: Callable[[str, argparse.Namespace], Hits]
) -> Hits:
    """The answers of the model in a directory, from the cache if `evaluate` found them before."""
    kept = options.cache / f"{_key(model, options)}.json" if options.cache else None
    if kept is not None and kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    hits = evaluate(model, options)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False, encoding="utf-8") as file:
            json.dump(hits, file)
        Path(file.name).replace(kept)
    return hits


def _key(model: str, options: argparse.Namespace) -> str:
    """What the answers depend on: the model's files, which never change once they are written, tasks and options."""
    files = [path for path in sorted(Path(model).resolve().iterdir()) if path.is_file()]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    tasks = [
        (str(path.relative_to(options.tasks)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(options.tasks.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    how = [options.task, options.metric, options.limit, options.device, options.dtype, options.chat]
    content = json.dumps([str(Path(model).resolve()), states, tasks, how])
    return hashlib.sha256(content.encode()).hexdigest()


def evaluated(model: str, options: argparse.Namespace) -> Hits:
    """The answers of the model, by lm-eval; paths in task files are relative to their folder."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    with contextlib.chdir(options.tasks):
        tasks = TaskManager(include_path=".", include_defaults=False)
        names = options.task or tasks.all_tasks
        if missing := sorted(set(names) - set(tasks.all_tasks)):
            raise SystemExit(f"{options.tasks} has no task {missing[0]}; it has {', '.join(tasks.all_tasks)}")
        found = simple_evaluate(
            model="hf",
            model_args={"pretrained": model, "dtype": options.dtype},
            device=options.device,
            batch_size=options.batch_size,
            tasks=names,
            task_manager=tasks,
            limit=options.limit,
            apply_chat_template=options.chat,
            bootstrap_iters=0,
        )
    return {name: [_hit(sample, options.metric) for sample in found["samples"][name]] for name in names}


def _hit(sample: Mapping[str, Any], metric: str) -> bool:
    if sample.get(metric) not in (0, 1):
        raise SystemExit(
            f"the metric {metric} is not 0 or 1 of each question: choose one of {sample['metrics']}"
        )
    return bool(sample[metric])


def measures(candidate: Hits, live: Hits | None, base: Hits | None) -> dict[str, dict[str, Any]]:
    """What a gate command prints."""
    found: dict[str, dict[str, Any]] = {}
    for task, hits in candidate.items():
        value = sum(hits) / len(hits)
        found[task] = {"value": value, "n": len(hits), "k": sum(hits), "sampled": True}
        if live is not None:
            found[task]["live"] = sum(live[task]) / len(live[task])
        if base is not None:
            difference = value - sum(base[task]) / len(base[task])
            found[f"{task}_to_base"] = {"value": difference, "n": len(hits)}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(argv)
    options.tasks = options.tasks.resolve()
    options.cache = options.cache and options.cache.resolve()
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        # What datasets makes of the files is not kept: they may change.
        os.environ.update(_OFFLINE, HF_DATASETS_CACHE=scratch)
        models = (options.candidate, options.live, options.base)
        hits = [measured(model, options, evaluated) if model else None for model in models]
    candidate, live, base = hits
    assert candidate is not None
    print(json.dumps(measures(candidate, live, base)))


if __name__ == "__main__":
    main()
