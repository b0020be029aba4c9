"""What an option means for a result: those that change none, and the place of the data, which may have moved.

Whatever tells one run from another asks here: `--resume`, comparisons, grids and reports. Options are those of a run's
`config.yaml`, nested or flat (`group.option`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semisup.plugins import split_names
from semisup.runs.directory import place
from semisup.runs.redaction import is_hidden

# Options that came later: what they were in a run whose config.yaml doesn't know them.
LATER: dict[str, Any] = {
    **{"data.labeled_in_unlabeled": False, "data.imbalance": 1.0},
    **{"data.unlabeled_imbalance": "equal", "data.unlabeled_per_class": None},
    **{"model.input_size": None, "model.weights": None, "model.adapt": "full", "model.freeze": 0, "model.draws": 4},
    **{"model.lora_rank": 8, "model.layer_decay": 1.0, "model.batchnorm": "auto", "lr_scheduler.warmup_share": 0.0},
    **{"data.labels_seed": None, "data.labels_csv": None},
    **{"data.sampler": "uniform", "model.class_weights": "none"},
}
# Where a run computes, how fast, and what it shows and writes; each with all that is nested in it. Batches are global,
# and devices, evaluation and residency change rounding at most (what devices come to: semisup/compare/comparable.py).
CHANGE_NO_RESULT = (
    *("tracking", "model.compile", "data.residency", "data.eval_batch_size", "data.download"),
    *(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy", "sync_batchnorm")),
    *(f"trainer.{name}" for name in ("default_root_dir", "logger", "log_every_n_steps", "profiler", "detect_anomaly")),
    *(f"trainer.{name}" for name in ("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams")),
    "trainer.model_registry",
)
_ON_RESUME = ("trainer.plugins", "trainer.callbacks")  # the user's own, with which a run may go on besides
PRECISION = "trainer.precision"
_BY_DEFAULT = ("bf16-mixed", "32-true")  # which of them, a machine and a network decide (semisup/models/precision.py)
_LENGTH = ("trainer.max_epochs", "trainer.max_steps")
ROOT = "data.root"  # a place; which images lie there, the digest of the data says
LABELS_CSV = "data.labels_csv"  # a place too
IMAGES = "data.images"  # what tells images that were given in Python from others
IDENTIFYING = ("strategy", "seed", "data.name")  # what every run's config.yaml says


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as `group.option`; what has no options in it stays as it is."""
    options: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            options |= flat(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = value
    return options


def is_among(name: str, options: Sequence[str]) -> bool:
    """Whether an option is one of these, or nested in one."""
    return any(name == option or name.startswith(f"{option}.") for option in options)


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that determine what a run learns: two runs of one identity are one run, made twice."""
    options = {**LATER, **flat(config)}
    for name in (ROOT, LABELS_CSV):
        if isinstance(options.get(name), str):
            options[name] = place(options[name])  # runs of before hold it as it was typed
    return {name: value for name, value in options.items() if not is_among(name, CHANGE_NO_RESULT)}


def settled(wanted: dict[str, Any], its: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are wanted, with the precision that a run's machine chose by default where none is asked for.

    Args:
        wanted: by `identity`.
        its: the run's, likewise.
    """
    if wanted.get(PRECISION) is None and its.get(PRECISION) in _BY_DEFAULT:
        return {**wanted, PRECISION: its[PRECISION]}
    return wanted


def own_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's options, flat, those of the strategies that it names, as `pseudolabel.threshold`."""
    names = split_names(str(options["strategy"]))
    return {name: value for name, value in options.items() if "." in name and name.partition(".")[0] in names}


def settle_places(those: Sequence[dict[str, Any]], digests: Sequence[str]) -> None:
    """Lets data that has moved be the same data, and data that has changed in its place be other data.

    Args:
        those: the options of runs, flat, in which `data.root` is put right.
        digests: of the data of each run (`Fingerprint.digest`), empty where it is not known.
    """
    known = [(its[ROOT], digest) for its, digest in zip(those, digests, strict=True) if digest and ROOT in its]
    one = {its[ROOT]: its[ROOT] for its in those if ROOT in its}  # place -> the first by name with the same data
    for _, digest in known:
        same = {one[root] for root, other in known if other == digest}
        one = {root: min(same) if first in same else first for root, first in one.items()}
    scored = {(one[root], digest.partition(" ")[0]) for root, digest in known}
    for its, digest in zip(those, digests, strict=True):
        if ROOT in its:
            its[ROOT] = first = one[its[ROOT]]
            if digest and sum(root == first for root, _ in scored) > 1:
                its[ROOT] = f"{first} with the images {digest.partition(' ')[0][:8]}"


def changed(began: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Options that would make another run of one that goes on, with their values then and now.

    A cosine falls to the end of the training, so another end is another run; other schedules can be prolonged. What was
    hidden when it was written can't be told. `data.root` is among them where it is another place, whose images the
    caller looks at.

    Args:
        began: the options that the run began with.
        now: those that it is to go on with. What only they have says nothing: a newer version brings new ones. Nor does
            what they don't have any more: where that decided anything, the options of then could not have been read.
    """
    then, today = identity(began), settled(identity(now), identity(began))
    then = {name: x for name, x in then.items() if any(is_among(name, [key]) or is_among(key, [name]) for key in today)}
    free = (*_ON_RESUME, *(_LENGTH if then.get("lr_scheduler.name") != "cosine" else ()))
    return {
        name: (value, today.get(name))
        for name, value in then.items()
        if value != today.get(name) and not is_hidden(value) and not is_among(name, free)
    }
