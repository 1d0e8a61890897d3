"""MEMIT, AlphaEdit and one-gradient editing in sequence, as their papers run them.

MEMIT and AlphaEdit preserve the keys of earlier turns (K_p in AlphaEdit's equation): MEMIT adds K_p K_pᵀ to the bracket
of Eqn. 14.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from editing.baselines import one_gradient
from editing.baselines.null_space import NullSpace, NullSpaceOptions
from editing.baselines.one_gradient import OneGradient, OneGradientOptions
from editing.baselines.options import option, read_options
from editing.baselines.sequence import Sequential, Turns
from editing.editors.contract import BuildInputs
from editing.memit.build import build, estimate


@dataclass(frozen=True)
class SequenceOptions:
    """Hyper-parameters of an editor in sequence."""

    batch: int = option(100, least=1)
    """Requests in a turn."""


@dataclass(frozen=True)
class NullSpaceSequenceOptions(NullSpaceOptions, SequenceOptions):
    """Those of the null-space solve, and the size of a turn."""


@dataclass(frozen=True)
class OneGradientSequenceOptions(OneGradientOptions, SequenceOptions):
    """Those of one-gradient editing, and the size of a turn."""


def _memit(inputs: BuildInputs) -> Turns:
    options = read_options(SequenceOptions, inputs.settings)
    return Turns(inputs, build, estimate, options.batch, preserves=True)


def _null_space(inputs: BuildInputs) -> Turns:
    options = read_options(NullSpaceSequenceOptions, inputs.settings)
    solving = partial(NullSpace, options=options, ridge=inputs.settings.ridge)
    return Turns(
        inputs,
        edit=partial(build, solving=solving),
        estimate=partial(estimate, solving=solving),
        size=options.batch,
        preserves=True,
    )


def _one_gradient(inputs: BuildInputs) -> Turns:
    options = read_options(OneGradientSequenceOptions, inputs.settings)
    own = {name: value for name, value in inputs.settings.options.items() if name != "batch"}
    turn = replace(inputs, settings=replace(inputs.settings, options=own))
    return Turns(turn, OneGradient().edit, one_gradient.estimate, options.batch)


MEMIT_SEQUENCE = Sequential(_memit).editor
NULL_SPACE_SEQUENCE = Sequential(_null_space).editor
ONE_GRADIENT_SEQUENCE = Sequential(_one_gradient).editor
