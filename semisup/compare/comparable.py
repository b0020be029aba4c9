"""Which runs may be compared: those that differ in nothing but strategy, its own options, seed and number of labels.

Read from each run's `config.yaml`. Options that change where or how fast a run goes, and no result but by rounding, may
differ; hardware and precision are looked at for what they come to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semisup.compare.record import OptionDifference
from semisup.plugins import split_names
from semisup.runs.directory import LATER, place

# Batches are global, and evaluation and residency change rounding at most.
_FREE = (
    *("data.residency", "data.eval_batch_size", "data.download", "model.compile"),
    *("trainer.default_root_dir", "trainer.logger", "trainer.log_every_n_steps", "trainer.profiler"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.enable_autolog_hparams"),
    *("trainer.model_registry", "trainer.detect_anomaly"),
    # What these three come to is in `_hardware`.
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm"),
)
_PRECISION = "trainer.precision"
_ROOT = "data.root"
_VARIED = ("strategy", "seed", "data.labels_per_class")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as `group.option`; what has no options in it stays as it is."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that determine what a run learns: two runs of one identity are one run, made twice."""
    options = {**LATER, **flat(config)}
    if isinstance(options.get(_ROOT), str):
        options[_ROOT] = place(options[_ROOT])  # runs of before hold it as it was typed
    return {name: value for name, value in options.items() if name not in _FREE and not _is_tracking(name)}


def own_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the strategies that a run names, as `pseudolabel.threshold`."""
    names = split_names(str(config["strategy"]))
    return {name: value for name, value in flat(config).items() if name.partition(".")[0] in names and "." in name}


def conditions(config: Mapping[str, Any], gpus: str, may_differ: Iterable[str] = ()) -> dict[str, Any]:
    """What must be the same in all runs of a comparison.

    Args:
        config: of a run.
        gpus: those that the run saw, as `environment.txt` lists them; empty for none.
        may_differ: options that the user allows to differ.
    """
    names, allowed = split_names(str(config["strategy"])), {*_VARIED, *may_differ}
    found = {
        name: value
        for name, value in identity(config).items()
        if name not in allowed and not ("." in name and name.partition(".")[0] in names)
    }
    return found | {name: value for name, value in _hardware(flat(config), gpus).items() if name not in allowed}


def settle_places(those: Sequence[dict[str, Any]], digests: Sequence[str]) -> None:
    """Lets data that has moved be the same data, and data that has changed in its place be other data.

    Args:
        those: the conditions of runs, in which `data.root` is put right.
        digests: of the data of each run (`Fingerprint.digest`), empty where it is not known.
    """
    known = [(its[_ROOT], digest) for its, digest in zip(those, digests, strict=True) if digest and _ROOT in its]
    one = {its[_ROOT]: its[_ROOT] for its in those if _ROOT in its}  # place -> the first by name with the same data
    for _, digest in known:
        same = {one[root] for root, other in known if other == digest}
        one = {root: min(same) if first in same else first for root, first in one.items()}
    scored = {(one[root], digest.partition(" ")[0]) for root, digest in known}
    for its, digest in zip(those, digests, strict=True):
        if _ROOT in its:
            its[_ROOT] = first = one[its[_ROOT]]
            if digest and sum(root == first for root, _ in scored) > 1:
                its[_ROOT] = f"{first} with the images {digest.partition(' ')[0][:8]}"


def _is_tracking(name: str) -> bool:
    return name.partition(".")[0] == "tracking"


def _hardware(options: Mapping[str, Any], gpus: str) -> dict[str, Any]:
    """What devices and precision come to.

    Several devices compute what one does, unless each normalises its own part of a batch; the default of the precision
    is float32 on CPUs and may be another on GPUs (semisup/cli/build.py).
    """
    gpu = bool(gpus) and options.get("trainer.accelerator") in ("auto", "gpu", "cuda")
    devices = _count(options.get("trainer.devices"), gpus if gpu else "") * int(options.get("trainer.num_nodes") or 1)
    apart = devices > 1 and not options.get("trainer.sync_batchnorm")
    default = f"the default on {Counter(gpus.split(', ')).most_common(1)[0][0]}" if gpu else "32-true"
    return {
        "trainer.devices": f"{devices} without trainer.sync_batchnorm" if apart else "1, or several as one",
        _PRECISION: options.get(_PRECISION) or default,
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
