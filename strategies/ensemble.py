"""Pseudo-labels averaged over finished runs of other networks, and one network that is trained on them.

    semisup fit --strategy ensemble --ensemble.runs RUN RUN RUN --model timm:vit_small_patch14_dinov2 \\
        --model.weights pretrained --model.adapt lora

V-PET of "Revisiting Semi-Supervised Learning in the Era of Foundation Models" (Zhang et al. 2025, arXiv 2503.09707):
networks of different backbones and adapters, each trained on the same labels (`--strategy supervised`, or any other),
are wrong about different images. Every run predicts all unlabeled images, and their targets are the mean of its and
the others' one-hot pseudo-labels, in which no run weighs more for being more confident: networks are calibrated
differently. `--ensemble.mean probabilities` averages what they say instead.

As in the authors' code both a weak and a strong view of an unlabeled image are trained towards its target. There the
votes of the runs go through a softmax, so that of C classes a unanimous one would keep probability for the others;
here, as in the paper, they are divided by the number of runs. There only unlabeled images are trained on; here the
labels are as well.

The runs are read once, as the training begins: what they say is kept in the checkpoint. Whatever they were trained on
must be open to this training too: a run that knows the label of an image that has none here would give it away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semisup.classifier import Classifier
from semisup.data.fingerprint import Fingerprint
from semisup.errors import require
from semisup.model import load
from semisup.runs.directory import find_checkpoint
from semisup.runs.paths import local
from semisup.runs.run import Run
from semisup.runtime.console import say
from semisup.runtime.ranks import gather_rows
from strategies.fixedtargets import FixedTargets


def agreement(votes: Tensor) -> Tensor:
    """The share of images of which two runs say the same, (runs, runs) float32, of what each says: (runs, N) int64."""
    return torch.tensor([[float((one == other).double().mean()) for other in votes] for one in votes])


def pairs(shares: Tensor) -> Tensor:
    """Of `agreement`, that of every two runs: (runs * (runs - 1) / 2,)."""
    return shares[*torch.triu_indices(len(shares), len(shares), offset=1)]


def given_away(then: Fingerprint, now: Fingerprint) -> str:
    """What a run has learned that a training must not know, in words; empty for nothing.

    Args:
        then: the data that the run was trained with.
        now: that of the training.
    """

    def keys(data: Fingerprint, *names: str) -> set[int]:
        return {key for name in names if name in data.pools for key in data.pools[name].keys.tolist()}

    def labels(data: Fingerprint) -> set[tuple[int, int]]:
        its = data.pools["labeled"]
        return set(zip(its.keys.tolist(), its.labels.tolist(), strict=True))

    train, held = ("labeled", "unlabeled"), ("val", "test")
    told = {
        "{} labels that are not given here": len(labels(then) - labels(now)),
        "{} validation or test images": len(keys(then, *train) & (keys(now, *held) - keys(now, *train))),
        "{} test images (it was validated on them)": len(
            keys(then, "val") & (keys(now, "test") - keys(now, "val", *train))
        ),
    }
    return ", ".join(words.format(f"{count:,}") for words, count in told.items() if count)


class Ensemble(FixedTargets):
    """Pseudo-labels averaged over finished runs of different networks train a final one (V-PET, Zhang et al. 2025).

    Args:
        runs: run directories, or checkpoints; each predicts by its best checkpoint.
        mean: of the runs' one-hot pseudo-labels, or of their probabilities.
        ratio: unlabeled images for every labeled one in a batch.
        weight: of their loss.
    """

    name = "ensemble"
    views = ("weak", "strong")
    gives = ("labeled", "weak", "strong", "target", "mask")
    presentation = "strategies.ensemble_figures:PRESENTATION"

    def __init__(
        self,
        runs: list[str] | None = None,
        mean: Literal["labels", "probabilities"] = "labels",
        ratio: int = 7,
        weight: float = 1.0,
    ) -> None:
        super().__init__(ratio, weight)
        self.runs, self.mean = runs or [], mean
        self.agreement_ = torch.empty(0, 0)  # (runs, runs), share of the images of which two say the same

    def make(self, module: Classifier) -> Tensor:
        """The mean of what the runs say; says and logs how far they agree.

        Raises:
            InputError: there is no run, or one that must not be asked.
        """
        require(
            bool(self.runs),
            "ensemble averages what finished runs say of the unlabeled images, and was given none; type "
            "--ensemble.runs RUN RUN ..., with runs that were trained on the same labels",
        )
        checkpoints = [self._checked(Path(local(run)), module) for run in self.runs]
        require(
            len({*checkpoints}) == len(checkpoints),
            f"ensemble.runs names a run twice: {', '.join(self.runs)}; name it once",
        )
        classes = len(module.spec.class_names)
        targets, votes = torch.zeros(0), []
        for path in checkpoints:
            p = self._predicted(path, module)
            votes.append(p.argmax(1))
            said = F.one_hot(votes[-1], classes).float() if self.mean == "labels" else p
            targets = targets + said if len(targets) else said
        self._report(module, targets / len(votes), torch.stack(votes))
        return targets / len(votes)

    def _checked(self, path: Path, module: Classifier) -> Path:
        """The checkpoint of a run that may be asked."""
        checkpoint = find_checkpoint(path)
        require(
            path.suffix == ".ckpt" or Run.of(path).finished,
            f"the run {path} has not finished; go on with it first (--resume), or name one of its checkpoints",
        )
        saved, data = Classifier.saved(checkpoint), module.datamodule
        known, ours = tuple(saved["spec"]["class_names"]), module.spec.class_names
        advice = "give runs that were trained on the same data with the same labels: the same --data options and --seed"
        require(
            known == ours,
            f"{checkpoint} knows the classes {', '.join(known[:12])}, and {module.spec.name} has "
            f"{', '.join(ours[:12])}, in that order; {advice}",
        )
        then = Fingerprint.restored(saved.get("data"), len(ours))
        require(then is not None, f"{checkpoint} does not say which images it was trained on; {advice}")
        assert then is not None
        secret = given_away(then, data.fingerprint)
        require(not secret, f"{checkpoint} has learned from {secret}, and would give them away here; {advice}")
        return checkpoint

    def _predicted(self, path: Path, module: Classifier) -> Tensor:
        """Probabilities (N, classes) float32 of all unlabeled images by a run, which sees them as its own were seen."""
        data, model = module.datamodule, load(path, str(module.device))
        pool = data.pools.without_label
        assert pool is not None

        def images() -> Iterator[Tensor]:
            for rows in pool.share(*data.rank).split(data.eval_batch_size):
                yield from pool.gather(rows).cpu()

        share = model.predict(images(), data.eval_batch_size).probabilities
        return gather_rows(share.to(module.device)).cpu()

    def _report(self, module: Classifier, targets: Tensor, votes: Tensor) -> None:
        """Says and logs how far the runs agree, and how right they are where the hidden labels are known."""
        self.agreement_, hidden = agreement(votes), module.datamodule.hidden_labels
        metrics = {"unanimous": float((votes == votes[0]).all(0).double().mean())}
        line = f"ensemble: targets of {_runs(len(votes))} for {votes.shape[1]:,} images"
        if len(votes) > 1:
            line += f"; they agree on {100 * metrics['unanimous']:.1f} % of these"
        if len(votes) > 2:
            two = pairs(self.agreement_)
            metrics["agreement"] = float(two.mean())
            line += f", two of them on {100 * two.min():.1f} to {100 * two.max():.1f} %"
        if hidden:
            rows = torch.arange(votes.shape[1])
            right = [hidden.precision(rows, each)[0] for each in (targets, *votes)]
            metrics |= {"precision": right[0]} | {f"precision/{k}": share for k, share in enumerate(right[1:], 1)}
            line += f"; of what each says {_percent(right[1:])} is right"
        say(line)
        for logger in module.trainer.loggers:
            named = {f"ensemble/{name}": value for name, value in metrics.items()}
            logger.log_metrics(named, module.trainer.global_step)

    def summary(self) -> str:
        """How far two runs agree."""
        two = pairs(self.agreement_.cpu())
        said = f", two of them agree on {100 * two.mean():.1f} % of the images" if len(two) else ""
        return f"{_runs(len(self.agreement_))} made the targets{said}"


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _percent(shares: list[float]) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in shares) + " %"
