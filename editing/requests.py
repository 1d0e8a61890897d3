"""Rendering a fact as a prompt, and the key that tells when two facts have the same prompt.

Torch-free: admission uses this to find two entities whose labels give the same prompt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from editing.folding import fold

PLACEHOLDER = "{}"


@dataclass(frozen=True, slots=True)
class EditRequest:
    """A fact as the editor sees it: (s, r, o) of the paper, r as a template around the subject.

    `prompt` contains exactly one `{}`, which stands for the subject; `target` is spelled as in running text,
    without the space that separates it from the prompt.
    """

    id: str
    prompt: str
    subject: str
    target: str
    end: int | None = None
    """Id of a token that should follow the target; None: whatever the model goes on with."""

    @property
    def rendered(self) -> str:
        return render(self.prompt, self.subject)


def render(template: str, subject: str) -> str:
    """`template` with its one `{}` replaced by `subject`; raises ValueError if there is not exactly one."""
    if template.count(PLACEHOLDER) != 1:
        raise ValueError(f"template {template!r} must contain {PLACEHOLDER} exactly once")
    return template.replace(PLACEHOLDER, subject)


def prompt_key(rendered: str) -> str:
    """Digest of a rendered prompt as a model reads it: equal keys are one prompt to the model.

    Two prompts that read the same (`folding.fold`) cannot reliably be given different answers.
    """
    return hashlib.sha256(fold(rendered).encode()).hexdigest()
