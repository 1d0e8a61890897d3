"""How many facts the settings of a calibration can hold, where its budget did not allow for that.

    OMP_NUM_THREADS=1 python -m benchmarks.calibrate_capacity --threads 1 --budget 40 pretrained=$(make -s pretrained)

Measures the last stage of `kbsync calibrate` for the settings in `calibrate-NAME.json` of --out, and adds it to that
file.  --budget is CPU time.  Resumes: what was measured before is kept in --home.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch

from benchmarks.calibrate_models import laboratory, model_options, shown, write
from editing.calibration.calibrate import asked
from editing.calibration.capacity import capacity, curve
from editing.calibration.counterfactuals import FURTHER
from editing.calibration.judgement import SearchPoint
from editing.settings import EditSettings
from kbsync.home import Home


def point_of(settings: Mapping[str, Any]) -> SearchPoint:
    """The point of which `settings_of` gave the settings."""
    names = {field.name for field in fields(EditSettings)}
    own = {name: value for name, value in settings.items() if name in names}
    layers = tuple(settings["layers"])
    return SearchPoint(EditSettings(**{**own, "layers": layers}), settings["variants"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model that is named."""
    parser = model_options(__doc__, "calibrate-home", "+")
    parser.add_argument("--budget", type=float, default=40.0, help="minutes of CPU time for each model")
    typed = parser.parse_args(arguments)
    torch.set_num_threads(typed.threads)
    for named in typed.models:
        file = typed.out / f"calibrate-{named.name}.json"
        content = json.loads(file.read_text("utf-8"))
        plan = named.plan(Home(typed.home.resolve()), typed.device, typed.budget, typed.start)
        splits = asked(plan, shown)[1]
        candidate = point_of(content["settings"])
        where = replace(laboratory(plan), clock=time.process_time)
        where.prepare(candidate)
        began = time.process_time()
        points, cut = curve(
            where,
            candidate,
            [splits[name] for name in ("test", "check", "search", FURTHER)],
            plan.floors,
            ends=began + plan.budget,
            clock=time.process_time,
        )
        content["capacity"] = [{"n": point.n, **point.judged.measures()} for point in points]
        content["capacity_facts"] = asdict(capacity(points, plan.floors))
        content["capacity_seconds"] = time.process_time() - began
        others = [one for one in content["left_out"] if one["stage"] != "capacity"]
        content["left_out"] = [*others, *(asdict(one) for one in cut)]
        write(file, {name: value for name, value in content.items() if name != "machine"}, typed.device)
        for point in points:
            print(point.n, {name: round(value, 3) for name, value in point.judged.measures().items()})
        print(content["capacity_facts"], content["left_out"])


if __name__ == "__main__":
    main()
