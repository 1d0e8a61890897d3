"""`POST /v1/completions` of an OpenAI-compatible server: greedy answers, with log-probabilities where it gives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from editing.secret_probes import SecretProbe
from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, described, object_of
from kbsync.deployment.judgement import Said
from kbsync.visible import visible

_TOPS = 3
"""Alternatives of which log-probabilities are asked at each token; the likeliest token comes on top of them."""
_REFUSED = (400, 422)
"""Statuses of a server that does not know a parameter."""


def first_model(server: Server) -> str:
    """The first model that the server lists; raises HookFailed if it lists none."""
    answer = server.get("/v1/models")
    try:
        return str(object_of(answer)["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise HookFailed(f"{described(answer)} lists no model", "name one with served_model") from error


def completion(server: Server, model: str, prompt: str, tokens: int) -> str:
    """The greedy continuation of the prompt; raises HookFailed."""
    question = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    return str(_choice(server.post("/v1/completions", json=question))["text"])


def ask_probes(
    server: Server, model: str, probes: Sequence[SecretProbe], still_wanted: Callable[[], bool]
) -> list[Said]:
    """The server's answers, in the order of `probes`; raises HookFailed, which shows no text of a probe."""
    found = []
    for probe in probes:
        if not still_wanted():
            raise HookFailed("its answers are no longer needed")
        found.append(_said(probe, _secret_choice(server, model, probe)))
    return found


def _secret_choice(server: Server, model: str, probe: SecretProbe) -> dict[str, Any]:
    question = {"model": model, "prompt": probe.prompt, "max_tokens": probe.certain, "temperature": 0}
    answer = server.post("/v1/completions", json={**question, "logprobs": _TOPS})
    if answer.status_code in _REFUSED:
        answer = server.post("/v1/completions", json=question)
    if not answer.is_success:  # an error message may repeat the question
        raise HookFailed(f"POST {visible(str(answer.request.url))}: HTTP {answer.status_code}")
    return _choice(answer, secret=True)


def _choice(answer: httpx.Response, *, secret: bool = False) -> dict[str, Any]:
    try:
        choice = object_of(answer)["choices"][0]
        if isinstance(choice["text"], str):
            return dict(choice)
    except (KeyError, IndexError, TypeError, ValueError):
        pass
    except HookFailed:
        if not secret:
            raise
    what = f"POST {answer.request.url}" if secret else described(answer)
    raise HookFailed(f"{what} holds no completion")


def _said(probe: SecretProbe, choice: dict[str, Any]) -> Said:
    """The answer; log-probabilities of another form than OpenAI's count as none."""
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return Said(probe, choice["text"])
    own, tops = _numbers(given.get("token_logprobs")), given.get("top_logprobs")
    listed = tops if isinstance(tops, list) else []
    likeliest = [sorted(_numbers([*top.values()]), reverse=True) for top in listed if isinstance(top, dict)]
    return Said(
        probe, choice["text"], own, tuple(map(tuple, likeliest)) if len(likeliest) >= len(own) else ()
    )


def _numbers(values: object) -> tuple[float, ...]:
    """The values, if they are all finite numbers; none otherwise."""
    if not isinstance(values, list):
        return ()
    right = all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in values
    )
    return tuple(map(float, values)) if right else ()
