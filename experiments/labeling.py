"""Accuracy by number of labels: pictures that `semisup label` chooses, against as many at random.

    python experiments/labeling.py
    python experiments/labeling.py --data stl10 --root data/photographs32 --labels 40 100 250 --steps 1000 --batch 32
    python experiments/labeling.py --data cifar10 --root data --labels 100 200 300 --steps 2000 --backbone wrn-28-2

Labels are hidden and then revealed for those pictures alone that an arm asks for. Of a seed, both arms begin with the
same labels, as many of each class, and with the same weights in every round, whose training is from the beginning. Test
accuracy in percent of the weights that are scored, after the last step; paired 95 % t intervals over seeds. Every round
that is done is kept in a file, and a run that was stopped goes on from there. Figures are in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from semisup import plugins
from semisup.batch import UNLABELED
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.datamodule import DataModule, DataSpec, Pools
from semisup.data.splits import pick
from semisup.labeling.choose import choose, seen
from semisup.runs.statistics import over_seeds, paired

OURS, RANDOM = "semisup label", "at random"


class Revealed(DataModule):
    """A dataset of which some labels are known.

    Args:
        data: the dataset, with all of its labels.
        rows: of its labeled pictures, those whose labels are known; the others are the unlabeled ones.
        kwargs: see DataModule.
    """

    def __init__(self, data: DataModule, rows: np.ndarray, **kwargs: Any) -> None:
        super().__init__(augmentation=data.augmentation, **kwargs)  # type: ignore[arg-type]
        self.data, self.rows = data, rows

    @property
    def spec(self) -> DataSpec:
        """Of the dataset."""
        return self.data.spec

    @property
    def rest(self) -> np.ndarray:
        """Rows whose labels are hidden."""
        return np.setdiff1d(np.arange(len(self.data.pools.labeled)), self.rows)

    def read(self) -> Pools:
        """The dataset's pictures, without a validation set, since nothing is chosen by one."""
        every = self.data.pools.labeled
        hidden = every.at(self.rest)
        nobody = torch.full((len(hidden),), UNLABELED)
        known = every.at(self.rows)
        return Pools(known, hidden.with_labels(nobody), None, self.data.pools.test, len(every), hidden.labels.numpy())


def main() -> None:
    """Trains every round of every seed and arm that is not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--root")
    parser.add_argument("--strategy", default="supervised")
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 40, 60, 80, 100], help="of each round, in all")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=24, help="labeled images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("labeling.jsonl"))
    options = parser.parse_args()
    its = {name: str(x) for name, x in vars(options).items() if name not in ("out", "seeds", "labels")}
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {tuple(one["of"]): one for one in map(json.loads, lines) if one["options"] == its}
    data = plugins.load(plugins.DATAMODULES, options.data)(
        labels_per_class=None, **({"root": options.root} if options.root else {})
    )

    def kept(of: tuple[int, str, int], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if of not in done:
            done[of] = {"of": of, "options": its, **make()}
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[of]) + "\n")
        return done[of]

    for seed in range(options.seeds):
        classes = data.spec.class_names
        start = pick(data.pools.labeled.labels.numpy(), options.labels[0] // len(classes), classes, seed)
        for arm in (OURS, RANDOM):
            rows = [int(row) for row in start]
            for now, then in zip(options.labels, [*options.labels[1:], 0], strict=True):
                one = "both" if now == options.labels[0] else arm
                count = max(0, then - now)
                found = kept((seed, one, now), partial(asked, data, rows, count, options, seed))
                rows = [*rows, *found[arm]]
    print("\n".join(table(done, options.labels, options.seeds)))


def asked(data: DataModule, rows: list[int], count: int, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains on the labels of some rows; test accuracy, and the rows that each arm asks for next."""
    known = Revealed(data, np.array(rows), batch_size=options.batch, steps_per_epoch=options.steps, seed=seed)
    parts = {options.strategy: plugins.load(plugins.STRATEGIES, options.strategy)()}
    module = Classifier(data.spec, Composition(parts), ModelOptions(options.backbone), seed=seed)
    known.needs = module.strategy.needs
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=1, limit_val_batches=0, enable_model_summary=False, **quiet)
    trainer.fit(module, known)
    module.eval()
    pools = known.pools
    assert pools.test is not None and pools.without_label is not None
    _, p = seen(module, pools.test, 256)
    accuracy = float((p.argmax(1) == pools.test.labels).double().mean())
    ours, theirs = np.empty(0, np.int64), np.empty(0, np.int64)
    if count:
        features, p = seen(module, pools.without_label, 256)
        ours = known.rest[choose(features, p, seen(module, pools.labeled, 256)[0], count).numpy()]
        theirs = np.random.default_rng([seed, len(rows)]).permutation(known.rest)[:count]
    print(f"seed {seed}, {len(rows)} labels: {100 * accuracy:.2f}", flush=True)
    return {"accuracy": accuracy, OURS: ours.tolist(), RANDOM: theirs.tolist()}


def table(done: dict[tuple[Any, ...], dict[str, Any]], labels: list[int], seeds: int) -> list[str]:
    """A line for each number of labels."""
    lines = [f"| labels | {OURS} | {RANDOM} | difference |", "|---|---|---|---|"]
    for now in labels:
        ours, theirs = (
            {s: 100 * done[s, "both" if now == labels[0] else arm, now]["accuracy"] for s in range(seeds)}
            for arm in (OURS, RANDOM)
        )
        found = paired(ours, theirs)
        assert found is not None
        between = f" [{found.t.low:+.2f}, {found.t.high:+.2f}]" if found.t.low is not None else ""
        said = "the same" if now == labels[0] else f"{found.mean:+.2f}{between}"
        lines.append(f"| {now} | {over_seeds([*ours.values()])} | {over_seeds([*theirs.values()])} | {said} |")
    return lines


if __name__ == "__main__":
    main()
