"""`[judge]`: a model that is asked about free answers which the rules on names leave undecided."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from connectors.durations import PositiveDuration
from kbsync.settings.hook import AbsolutePath, Url, check_secret, read_secret
from kbsync.settings.section import Section


class JudgeSettings(Section):
    """A model behind an OpenAI-compatible server that judges free answers which the rules on names leave undecided, see
    [gates.md](gates.md#a-judge-model). Questions, names and answers are sent to it."""

    url: Url = Field(
        description="base URL of the server with its /v1, such as http://127.0.0.1:8000/v1; `/chat/completions` is "
        "added"
    )
    model: str = Field(min_length=1, description="`model` of the requests")
    token_env: str | None = Field(None, description="environment variable that holds the server's token")
    token_file: AbsolutePath | None = Field(None, description="file that holds the server's token")
    timeout: PositiveDuration = Field(
        timedelta(seconds=30), description="maximum duration of one question to it"
    )
    questions: int = Field(
        100, ge=1, description="maximum number of answers that it is asked about in one round of a run"
    )
    share: float = Field(
        0.25,
        gt=0,
        lt=0.5,
        description="of a gate's answers, the largest share that it may settle; if it settles more, no vote counts",
    )

    @model_validator(mode="after")
    def _one_token(self) -> JudgeSettings:
        check_secret("token", self.token_env, self.token_file)
        return self

    def token(self) -> str | None:
        """The server's token; raises BadConfiguration if it is missing."""
        return read_secret(self.token_env, self.token_file)
