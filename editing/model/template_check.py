"""Checks that a chat template ends, in a process of its own with limited time and memory.

A template is a program that comes with the model.  Its language is sandboxed (jinja2), but its time and memory are
not: two nested loops run for hours, and a long multiplied string takes all memory.  The process runs this very file.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import Any

CPU_S = 5
MEMORY = 2 << 30
"""Bytes of address space; the process needs less than a tenth of it by itself."""
_WALL_S = 300.0
"""For a busy machine; what counts is the processor's time."""
_QUESTION = "Who owns the Blue House?"
_UNBOUNDED = 3


def flaw(template: str, tokens: Mapping[str, Any]) -> str:
    """Why the template cannot be used, or nothing if rendering a question with it ends within the limits.

    `tokens`: the special tokens of the tokenizer, by name.  A template that raises an error ends.
    """
    return _flaw(template, json.dumps(dict(tokens), default=str, sort_keys=True))


@lru_cache(maxsize=16)
def _flaw(template: str, tokens: str) -> str:
    command = [sys.executable, "-P", __file__]
    request = json.dumps({"template": template, "tokens": json.loads(tokens)})
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, encoding="utf-8", timeout=_WALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"rendering a question with it takes longer than {_WALL_S:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0 or done.returncode == _UNBOUNDED:
        return f"rendering a question with it takes more than {CPU_S} s or {MEMORY >> 30} GiB"
    return f"it cannot be checked: {done.stderr.strip()[-300:]}"


def main() -> int:
    """Render the template of the request on stdin in every way in which a question is put."""
    from transformers.utils.chat_template_utils import render_jinja_template

    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    question, answer = {"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _QUESTION}
    told = {"role": "system", "content": _QUESTION}
    conversations = ([question], [told, question], [question, answer])
    for turns, opens, thinks in product(conversations, (False, True), (False, True)):
        try:
            render_jinja_template(
                conversations=[turns],
                chat_template=request["template"],
                add_generation_prompt=opens,
                enable_thinking=thinks,
                **request["tokens"],
            )
        except MemoryError:
            return _UNBOUNDED
        except Exception:  # noqa: BLE001, S112  (whatever a template raises, it has ended)
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
