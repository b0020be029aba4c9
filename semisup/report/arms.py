"""Arms: runs that differ by their seed alone. Their means, and their differences paired by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from semisup import plugins
from semisup.errors import InputError
from semisup.escape import shell
from semisup.figures.artifacts import RunArtifacts
from semisup.runs.directory import Which
from semisup.runs.options import settle_places
from semisup.runs.redaction import shown
from semisup.runs.run import Run, Split
from semisup.runs.statistics import Difference, paired

SUPERVISED = "supervised"
# Options of data that leave open which images there are, and which of them are labeled.
_SERVING = ("data.batch_size", "data.steps_per_epoch", "data.augmentation")


@dataclass(frozen=True)
class Arm:
    """Runs with the same options and different seeds.

    Attributes:
        name: the strategy, and what sets it apart from other arms of that strategy.
        options: those that determine what the runs learn, flat, without the seed; secrets replaced by `***`.
        artifacts: of each run, by their seed.
    """

    name: str
    options: dict[str, Any]
    artifacts: tuple[RunArtifacts, ...]

    @property
    def runs(self) -> list[Run]:
        """The runs."""
        return [one.run for one in self.artifacts]

    @property
    def example(self) -> RunArtifacts:
        """The run that stands for all where one is to be shown: the first that is finished, chosen by nothing else."""
        return next((one for one in self.artifacts if one.run.finished), self.artifacts[0])

    @property
    def strategy(self) -> str:
        """The strategy of all runs."""
        return self.runs[0].strategy

    def accuracies(self, which: Which, split: Split) -> dict[int, float]:
        """Seed -> accuracy in percent, of the runs that are finished and were scored."""
        by_seed = {run.seed: run.accuracy(which, split) for run in self.runs}
        return {seed: accuracy for seed, accuracy in by_seed.items() if accuracy is not None}


def arms(artifacts: Sequence[RunArtifacts]) -> list[Arm]:
    """Groups runs that may be compared (`semisup.compare.choose`) into arms: supervised ones first, then as given.

    Raises:
        InputError: a run has no options or no metrics.
    """
    options = [_essential(one) for one in artifacts]
    settle_places(options, [one.run.data_digest for one in artifacts])
    groups: dict[str, tuple[dict[str, Any], list[RunArtifacts]]] = {}
    for own, one in zip(options, artifacts, strict=True):
        groups.setdefault(json.dumps(own, sort_keys=True, default=str), (own, []))[1].append(one)
    ordered = sorted(groups.values(), key=lambda group: group[0]["strategy"] != SUPERVISED)
    everyone = [own for own, _ in ordered]
    return [
        Arm(_name(own, everyone), own, tuple(sorted(group, key=lambda one: one.run.seed))) for own, group in ordered
    ]


def _essential(one: RunArtifacts) -> dict[str, Any]:
    """The options that the arm of a run is known by, as they may be shown."""
    run = one.run
    try:
        options, _, _ = run.options, one.metrics, run.environment
    except InputError as error:
        raise InputError(
            f"{run.directory} can't be reported: {error}; leave it out, or let it train: semisup fit --resume "
            f"{shell(run.directory)}"
        ) from error
    return {name: shown(name, value) for name, value in options.items() if name != "seed"}


def reference(arm: Arm, all_arms: Iterable[Arm]) -> Arm | None:
    """The supervised arm that an arm is to be compared with: on the same images, and as similar as there is."""
    if arm.strategy == SUPERVISED:
        return None
    fitting = [other for other in all_arms if other.strategy == SUPERVISED and _images(other) == _images(arm)]
    return min(fitting, key=lambda other: len(unlike(arm, other)), default=None)


def unlike(one: Arm, other: Arm) -> list[str]:
    """The options, beside the strategies' own, that two arms don't agree on."""
    owned = {"strategy", *plugins.split_names(one.strategy), *plugins.split_names(other.strategy)}
    names = dict.fromkeys([*one.options, *other.options])
    apart = [name for name in names if one.options.get(name) != other.options.get(name)]
    return [name for name in apart if name.partition(".")[0] not in owned]


def difference(arm: Arm, other: Arm, which: Which) -> Difference | None:
    """The paired difference in test accuracy, percentage points; None where the two have no seed in common."""
    return paired(arm.accuracies(which, "test"), other.accuracies(which, "test"))


def _name(own: dict[str, Any], everyone: Iterable[dict[str, Any]]) -> str:
    """The strategy, and the options that set it apart from other arms of it: `pseudolabel (threshold 0.9)`."""
    strategy = str(own["strategy"])
    rivals = [options for options in everyone if options["strategy"] == strategy]
    names = dict.fromkeys(name for options in rivals for name in options)
    apart = [name for name in names if any(options.get(name) != own.get(name) for options in rivals)]
    told = ", ".join(f"{name.removeprefix(f'{strategy}.')} {_said(own.get(name))}" for name in apart)
    return f"{strategy} ({told})" if told else strategy


def _said(value: Any) -> str:
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _images(arm: Arm) -> dict[str, Any]:
    """The options that say which images there are, and which of them are labeled."""
    return {name: x for name, x in arm.options.items() if name.startswith("data.") and name not in _SERVING}
