"""Which of the runs that were found take part in a comparison, and why the others don't."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semisup.compare.collect import Candidate, candidate
from semisup.compare.comparable import conditions, differences, most_common
from semisup.compare.record import Failure, LeftOut, OptionDifference
from semisup.errors import InputError, require, unknown_option
from semisup.runs.options import flat, settle_places
from semisup.runs.run import Run

REFERENCE = "supervised"


@dataclass(frozen=True)
class CompareRequest:
    """What the user asked for, besides the runs.

    Attributes:
        command: as typed.
        out: the folder that `comparison.json` goes to.
        order: strategies in the order in which to show them; others follow by name.
        may_differ: options that may differ between the runs.
        failures: of the grid.
    """

    command: str
    out: Path
    order: Sequence[str] = ()
    may_differ: Sequence[str] = ()
    failures: Sequence[Failure] = ()


def choose(
    directories: Mapping[Path, bool], out: Path, may_differ: Sequence[str] = ()
) -> tuple[list[Candidate], list[LeftOut]]:
    """The runs to compare, one at least, and the others.

    Args:
        directories: run directories, and whether each was named by the user; such a one is never left out in silence.
        out: the folder that paths are relative to.
        may_differ: as in `CompareRequest`.

    Raises:
        InputError: a run that the user named can't be compared, there is nothing to compare, or no run has an option
            that may differ.
    """
    candidates, left_out = _read(directories, out)
    kept, more = _comparable(candidates, out, may_differ)
    left_out += more
    kept, more = _newest(kept, out)
    left_out += more
    _refuse(left_out, directories, out)
    require(bool(kept), _nothing(left_out))
    return kept, left_out


def _read(directories: Iterable[Path], out: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """The finished runs; of the others, those that no finished one stands for."""
    candidates, left_out, others = [], [], []
    for run in map(Run, directories):
        try:
            candidates.append(candidate(run))
        except InputError as error:
            others.append((run, str(error)))
    finished = [one.run.options for one in candidates]
    for run, reason in others:
        try:
            superseded = not run.finished and run.options in finished
        except InputError:
            superseded = False
        if not superseded:
            left_out.append(LeftOut(os.path.relpath(run.directory, out), reason))
    return candidates, left_out


def _comparable(
    candidates: list[Candidate], out: Path, may_differ: Sequence[str]
) -> tuple[list[Candidate], list[LeftOut]]:
    """The runs of the most common conditions, and the others. Options that may differ become part of the arm."""
    if not candidates:
        return [], []
    those = [
        conditions(one.run, may_differ) | {name: value for name, value in one.splits.items() if name not in may_differ}
        for one in candidates
    ]
    there = {name for one in candidates for name in {**flat(one.run.config), **one.run.options, **one.splits}}
    for name in may_differ:
        require(name in there, f"--may_differ: {unknown_option(name, there)}")
    settle_places(those, [one.run.data_digest for one in candidates])
    usual = most_common(those, [float(one.record.strategy == REFERENCE) for one in candidates])
    kept, left_out = [], []
    for one, its in zip(candidates, those, strict=True):
        if differing := differences(its, usual):
            reason = f"not comparable: {one.record.strategy} seed {one.record.seed} {_listed(differing)}"
            left_out.append(LeftOut(os.path.relpath(one.run.directory, out), reason, differing))
        else:
            allowed = {name: value for name, value in flat(one.run.config).items() if name in may_differ}
            kept.append(replace(one, record=replace(one.record, options=one.record.options | allowed)))
    return kept, left_out


def _listed(differing: Sequence[OptionDifference], shown: int = 4) -> str:
    """`has trainer.max_epochs 60, the others 30`, and so on."""
    listed = [f"{one.option} {in_words(one.value)}, the others {in_words(one.others)}" for one in differing[:shown]]
    more = f"; and {len(differing) - shown} more" if len(differing) > shown else ""
    return f"has {'; '.join(listed)}{more}"


def in_words(value: Any) -> str:
    """An option's value in words."""
    return "none" if value is None else str(value)


def _newest(candidates: list[Candidate], out: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """Of several runs of one identity the newest, and the others. A directory's name begins with its time."""
    kept: list[Candidate] = []
    left_out = []
    for one in sorted(candidates, key=lambda one: one.run.made, reverse=True):
        newer = next((other for other in kept if _same_place(one, other)), None)
        if newer is None:
            kept.append(one)
        else:
            reason = f"{newer.run.name} is the same run again, and newer"
            left_out.append(LeftOut(os.path.relpath(one.run.directory, out), reason))
    return kept, left_out


def _same_place(one: Candidate, other: Candidate) -> bool:
    """Whether two runs are of the same strategy with the same own options, seed and labels."""
    return all(
        a == b
        for a, b in (
            (one.record.strategy, other.record.strategy),
            (one.record.options, other.record.options),
            (one.record.seed, other.record.seed),
            (one.run.labels_per_class, other.run.labels_per_class),
        )
    )


def _refuse(left_out: Sequence[LeftOut], directories: Mapping[Path, bool], out: Path) -> None:
    """Says what is wrong with the runs that the user named, all at once."""
    named = {os.path.relpath(path, out): path for path, given in directories.items() if given}
    wrong = [f"{os.path.relpath(named[one.path])}: {one.reason}" for one in left_out if one.path in named]
    advice = "leave them out, or type --may_differ OPTION where that is meant"
    require(not wrong, f"these runs can't be compared; {advice}: {' | '.join(wrong)}")


def _nothing(left_out: Sequence[LeftOut]) -> str:
    why = (
        f"; of {len(left_out)} that were found the first is {left_out[0].path}: {left_out[0].reason}"
        if left_out
        else ""
    )
    return f"there is no finished run to compare{why}"
