"""Settings of [edit] that cannot work together, or with the model."""

from __future__ import annotations

from collections.abc import Iterator

from kbsync.queries.model_config import layer_count
from kbsync.settings.base_model import edit_settings_of
from kbsync.settings.sections import Settings


def edit_problems(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(setting, problem, advice) of what cannot work; no model is loaded.

    Raises BadConfiguration if the settings beside the model cannot be read.
    """
    layers, path = settings.edit.layers, settings.model.path
    count = layer_count(path) if path is not None else None
    if layers is not None and (not layers or len(set(layers)) < len(layers)):
        what = "a layer is named twice" if layers else "no layer is named"
        yield "[edit] layers", what, "name each layer once; `kbsync trace` recommends some"
    for layer in layers or ():
        if count is not None and layer >= count:
            yield (
                "[edit] layers",
                f"there is no layer {layer}: the model has {count}, counted from 0",
                f"name layers from 0 to {count - 1}; `kbsync trace` recommends some",
            )
    flaw = settings.edit.over(edit_settings_of(path)).flaw() if path is not None else ""
    if flaw:
        yield "[edit] bare_steps", flaw, "set bare_steps = 0, or change the other"
