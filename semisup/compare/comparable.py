"""Which runs may be compared: those that differ in nothing but strategy, its own options, seed and number of labels.

Options that change no result (semisup/runs/options.py) may differ; devices and precision are looked at for what they
come to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semisup.compare.record import OptionDifference
from semisup.runs.environment import NO_GPUS
from semisup.runs.options import PRECISION, flat, own_options
from semisup.runs.run import Run

_VARIED = ("strategy", "seed", "data.labels_per_class")


def conditions(run: Run, may_differ: Iterable[str] = ()) -> dict[str, Any]:
    """What must be the same in all runs of a comparison.

    Args:
        run: one of them.
        may_differ: options that the user allows to differ.
    """
    allowed = {*_VARIED, *may_differ, *own_options(run.options)}
    gpus = run.began.get("gpus", "")
    options = run.options | _hardware(flat(run.config), "" if gpus == NO_GPUS else gpus)
    return {name: value for name, value in options.items() if name not in allowed}


def _hardware(options: Mapping[str, Any], gpus: str) -> dict[str, Any]:
    """What devices and precision come to.

    Several devices compute what one does, unless each normalises its own part of a batch; the default of the precision
    is float32 on CPUs, unless config.yaml says otherwise, and may be another on GPUs (semisup/cli/build.py).
    """
    gpu = bool(gpus) and options.get("trainer.accelerator") in ("auto", "gpu", "cuda")
    devices = _count(options.get("trainer.devices"), gpus if gpu else "") * int(options.get("trainer.num_nodes") or 1)
    apart = devices > 1 and not options.get("trainer.sync_batchnorm")
    default = f"the default on {Counter(gpus.split(', ')).most_common(1)[0][0]}" if gpu else "32-true"
    return {
        "trainer.devices": f"{devices} without trainer.sync_batchnorm" if apart else "1, or several as one",
        PRECISION: options.get(PRECISION) or default,
    }


def _count(devices: Any, gpus: str) -> int:
    """Devices that `--trainer.devices` comes to: a number, a list, "0,1", or auto and -1 for all of them."""
    if devices in ("auto", -1, "-1", None):
        return len(gpus.split(", ")) if gpus else 1
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    parts = re.findall(r"\d+", str(devices))
    return len(parts) if "," in str(devices) else int(parts[0]) if parts else 1


def differences(one: Mapping[str, Any], others: Mapping[str, Any]) -> list[OptionDifference]:
    """The options in which a run's conditions are not those of the others, sorted."""
    absent = "not an option"
    names = sorted(name for name in {**one, **others} if one.get(name, absent) != others.get(name, absent))
    return [OptionDifference(name, one.get(name, absent), others.get(name, absent)) for name in names]


def most_common(conditions: Sequence[dict[str, Any]], weight: Sequence[float]) -> dict[str, Any]:
    """The conditions that most runs share; of several as frequent, those of the greatest weight, then the first."""
    frequency = [sum(one == other for other in conditions) for one in conditions]
    return conditions[max(range(len(conditions)), key=lambda i: (frequency[i], weight[i], -i))]
