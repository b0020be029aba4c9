"""Arms: runs that differ by their seed alone. Their means, and their differences paired by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from semisup import plugins
from semisup.errors import InputError, require
from semisup.report.runs import Run, Split
from semisup.runs.directory import Which
from semisup.runs.options import identity
from semisup.runs.statistics import Interval, spread, t_interval

SUPERVISED = "supervised"
# Options of data that leave open which images there are, and which of them are labeled.
_SERVING = ("data.batch_size", "data.steps_per_epoch", "data.augmentation")


@dataclass(frozen=True)
class Arm:
    """Runs with the same options and different seeds.

    Attributes:
        name: the strategy, and what sets it apart from other arms of that strategy.
        runs: by their seed.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def example(self) -> Run:
        """The run that stands for all where one is to be shown: the first that is finished, chosen by nothing else."""
        return next((run for run in self.runs if run.finished), self.runs[0])

    @property
    def options(self) -> dict[str, Any]:
        """The options that the runs share."""
        return essential(self.runs[0].options)

    @property
    def strategy(self) -> str:
        """The strategy of all runs."""
        return self.runs[0].strategy

    def accuracies(self, which: Which, split: Split) -> dict[int, float]:
        """Seed -> accuracy in percent, of the runs that are finished and were scored."""
        found = {run.seed: run.accuracy(which, split) for run in self.runs if run.finished}
        return {seed: accuracy for seed, accuracy in found.items() if accuracy is not None}


@dataclass(frozen=True)
class Difference:
    """How much better one arm is than another, from the runs of both with the same seed.

    Attributes:
        pairs: seed -> difference in percentage points.
    """

    pairs: dict[int, float]

    @property
    def mean(self) -> float:
        """The mean difference."""
        return spread([*self.pairs.values()])[0]

    @property
    def error(self) -> float | None:
        """Its standard error; None of a single pair, which doesn't tell how much differences scatter."""
        _, sd = spread([*self.pairs.values()])
        return None if sd is None else sd / len(self.pairs) ** 0.5

    @property
    def interval(self) -> Interval:
        """Its 95 % confidence interval by Student's t distribution, without ends where there can't be one."""
        return t_interval([*self.pairs.values()])


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Groups runs into arms, the supervised ones first, then in the order given.

    Raises:
        InputError: runs are of different data, or two runs of an arm have the same seed.
    """
    of_data = {run.data: run for run in reversed(runs)}
    if len(of_data) > 1:
        found = "; ".join(f"{name}: {run.material.run}" for name, run in sorted(of_data.items()))
        raise InputError(
            f"the runs are of different data, whose accuracies can't be compared ({found}); type semisup report once "
            f"for each of {', '.join(sorted(of_data))}"
        )
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(essential(run.options), sort_keys=True, default=str), []).append(run)
    found_arms = sorted(groups.values(), key=lambda group: group[0].strategy != SUPERVISED)
    for group in found_arms:
        _check_seeds(group)
    options = [essential(group[0].options) for group in found_arms]
    return [
        Arm(_name(own, options), tuple(sorted(group, key=lambda run: run.seed)))
        for own, group in zip(options, found_arms, strict=True)
    ]


def essential(options: dict[str, Any]) -> dict[str, Any]:
    """The options that an arm is known by."""
    return {name: value for name, value in identity(options).items() if name != "seed"}


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
    """The paired difference in test accuracy; None where the two have no seed in common."""
    ours, theirs = arm.accuracies(which, "test"), other.accuracies(which, "test")
    pairs = {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
    return Difference(pairs) if pairs else None


def _check_seeds(group: Sequence[Run]) -> None:
    by_seed: dict[int, Run] = {}
    for run in group:
        if run.finished:
            other = by_seed.setdefault(run.seed, run)
            require(
                other is run,
                f"{other.material.run} and {run.material.run} are both {run.strategy} with seed {run.seed} and the "
                f"same options, and would count twice; leave one of them out",
            )


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
