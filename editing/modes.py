"""What a round does.  Torch-free."""

from __future__ import annotations

from typing import Literal

Mode = Literal["build", "judge", "ask", "plan", "view", "statistics", "residuals", "keys", "solve", "exam"]
"""`build` edits and judges.  `view` edits and asks `prompts` but judges nothing; the checkpoint is written if `out` is
named.  `judge` measures the kept checkpoint in `out` again: its digest is verified, and nothing
is optimised or written.  `ask` only asks the base every prompt, so that the planner learns what is known before it
plans (checkpoint and checkpoint_digest are then empty, and `answer` is the base's), and the base or `live` the spec's
`prompts`.  `plan` only estimates the cost of
a build, in the report's `cost` (`cost.preflight`).

`statistics` and `residuals` compute one share of that part of a build, into the cache, so that several machines can
divide a build's main work among them.  Once they are done, `keys` computes one share of the keys of the layer at index
`step`, and `solve` that layer's new weights, from all shares and the layers before.  `exam` then asks base, candidate
and live about one share of the facts, and writes their answers to a file, which a `build` reads."""
