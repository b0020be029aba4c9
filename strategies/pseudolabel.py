"""Pseudo-labels (Lee 2013): predict the unlabeled pool, and train on its most confident images as if they had labels.

    python -m semisup fit --strategy pseudolabel
    python -m semisup fit --strategy pseudolabel --pseudolabel.rule top_k_per_class --pseudolabel.top_k 1000
    python -m semisup fit --strategy pseudolabel --pseudolabel.after training --pseudolabel.rule top_k_overall

In rounds while the network trains: after the warm-up, and every few epochs from then on. Or once, after a whole
training of `--trainer.max_epochs`, by its last weights that evaluate: the selected images are appended to the labeled
ones, and as many epochs go over the union, each image once an epoch (but for what fills no batch), from the beginning
or from the trained weights (`restart`). So did the network that won a university course on STL-10, with the 1,000 most
confident images.

The whole pool is predicted without augmentation. The confidence of an image is its largest class probability. The
rules:

    threshold         every image at least `threshold` confident
    top_k_overall     the `top_k` most confident images
    top_k_per_class   the `top_k` most confident images of every predicted class
    percentile        the most confident 20 %, in the next round 40 %, and so on up to all: curriculum labeling
                      (Cascante-Bonilla et al. 2020, arXiv 2001.06001; with its restarts that is `curriculum`)

In rounds the loss is L = CE(labeled) + alpha(t) CE(pseudo-labeled), each a mean over its images, alpha rising linearly
from 0 to `weight` (Lee 2013, "Pseudo-Label", equations 15 and 16).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup import selection
from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.data.loader import TrainLoader
from semisup.errors import require
from semisup.losses import cross_entropy, linear_ramp
from semisup.predict import select
from semisup.ranges import Count, NonNegative, Ratio, Share, check_ranges
from semisup.runtime.console import say
from semisup.selection import Rule
from semisup.strategy import Loss, Phase
from strategies.relabeling import Relabeling

_BINS = 10  # of the confidence histogram
_TOP_K = 1000  # by default


def vanishing(before: Tensor, now: Tensor) -> list[int]:
    """Classes that have at most half as many pseudo-labels as before, and at most half of the share of all.

    Args:
        before: (classes,) pseudo-labels of each class.
        now: likewise.
    """
    if len(before) != len(now):  # there was no round yet
        return []
    fewer = (before > 0) & (2 * now <= before) & (2 * now * before.sum() <= before * now.sum())
    return fewer.nonzero().flatten().tolist()


class PseudoLabel(Relabeling):
    """Pseudo-labels in rounds over the unlabeled pool (Lee 2013), by threshold, top-k or curriculum.

    Args:
        rule: threshold, top_k_overall, top_k_per_class or percentile.
        threshold: least confidence of a pseudo-labeled image, for the rule threshold.
        top_k: images that a round selects, overall or of each class, for the rules top_k_*; the default of 1,000 is a
            fifth of a pool that has fewer images, in all.
        soft: train on the predicted probabilities rather than on the most probable class.
        weight: final weight of the pseudo-labeled images in the loss.
        ramp_start: step after the first round at which their weight starts to rise from 0.
        ramp_end: step after the first round at which their weight is reached.
        ratio: pseudo-labeled images for every truly labeled one in a batch. Every batch holds data.batch_size truly
            labeled images, however many are pseudo-labeled.
        warmup_epochs: epochs on labeled images alone, before the first round.
        every_n_epochs: epochs from one round to the next.
        after: warmup, for rounds from then on, or training: once, and a second training on the union.
        restart: that second training begins with fresh weights, and not with those of the first.
    """

    percent = 20  # of the pool that every round of the curriculum adds
    presentation = "strategies.pseudolabel_figures:PRESENTATION"

    def __init__(
        self,
        rule: Literal["threshold", "top_k_overall", "top_k_per_class", "percentile"] = "threshold",
        threshold: Share = 0.95,
        top_k: Count = 1000,
        soft: bool = False,
        weight: NonNegative = 1.0,
        ramp_start: int = 0,
        ramp_end: int = 500,
        ratio: Ratio = 1,
        warmup_epochs: Count = 5,
        every_n_epochs: Count = 5,
        after: Literal["warmup", "training"] = "warmup",
        restart: bool = True,
    ) -> None:
        check_ranges("pseudolabel", PseudoLabel, locals())
        require(
            0 <= ramp_start <= ramp_end,
            f"pseudolabel.ramp_start is {ramp_start} and pseudolabel.ramp_end {ramp_end}, "
            f"but they must be 0 <= ramp_start <= ramp_end",
        )
        require(
            not soft or after == "warmup",
            "pseudolabel.soft goes with rounds: after a whole training the images are labeled as others are; leave "
            "--pseudolabel.soft out, or --pseudolabel.after training",
        )
        self.after, self.restart = after, restart
        self.rule, self.threshold, self.top_k, self.soft = rule, threshold, top_k, soft
        self.weight, self.ramp_start, self.ramp_end, self.ratio = weight, ramp_start, ramp_end, ratio
        self.warmup_epochs, self.every_n_epochs = warmup_epochs, every_n_epochs
        self.targets_from = "evaluating"
        if after == "warmup":
            self.needs = Needs(unlabeled_views=("weak",), unlabeled_ratio=ratio, unlabeled="relabeled")
        super().__init__()
        self.trained_ = torch.empty(0, dtype=torch.int64)
        self.most_ = torch.empty(0, dtype=torch.int64)  # (classes,) pseudo-labels of each in the round that had most
        self._names: tuple[str, ...] = ()

    def phases(self, module: Classifier) -> list[Phase]:
        """The training, and after it, where that is asked for, the one on the union."""
        if self.after == "warmup":
            return super().phases(module)
        union = Phase("with pseudo-labels", labeled=self.union, restart=self.restart)
        return [Phase(end=lambda module: self._round(module, 0)), union]

    def loss(self, module: Classifier, batch: Batch) -> Loss:
        """Cross-entropy of the labeled images, and of the pseudo-labeled ones by their weight."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if unlabeled is None:  # no round yet, or one that selected nothing
            return module.labeled_loss(module(labeled.views["weak"]), labeled.target), {}
        # One forward pass over both, so that batch normalisation sees one population.
        logits = module(torch.cat([labeled.views["weak"], unlabeled.views["weak"]]))
        supervised = module.labeled_loss(logits[: len(labeled)], labeled.target)
        pseudo = cross_entropy(logits[len(labeled) :], unlabeled.target)
        since = batch.step - self.warmup_epochs * module.datamodule.steps
        alpha = self.weight * linear_ramp(since, self.ramp_start, self.ramp_end)
        return supervised + alpha * pseudo, {"loss_labeled": supervised, "loss_pseudo": pseudo}

    def begin_fit(self, module: Classifier) -> None:
        """Refuses a top_k that the pool can't fill, but for the default, which then follows the pool.

        Says where the training ends before its first pseudo-label.
        """
        pool, self._names = module.datamodule.pools.without_label, module.spec.class_names
        require(
            pool is not None or self.after == "warmup",  # of which the data itself says so
            f"pseudolabel needs unlabeled images and {module.spec.name} has none here; add some, give fewer labels "
            f"(--data.labels_per_class N), or type --strategy supervised",
        )
        if pool and self.rule.startswith("top_k") and self.top_k > len(pool):
            classes = len(self._names) if self.rule == "top_k_per_class" else 1
            fifth = max(1, len(pool) // 5 // classes)
            require(
                self.top_k == _TOP_K,
                f"pseudolabel.top_k is {self.top_k:,}, but the unlabeled pool has {len(pool):,} images; "
                f"type --pseudolabel.top_k N with N up to that, such as {fifth:,}, a fifth of them in all",
            )
            self.top_k = fifth
            say(
                f"pseudolabel: top_k is {fifth:,}, a fifth of the {len(pool):,} unlabeled images in all, not {_TOP_K:,}"
            )
        if self.after == "warmup" and module.total_steps <= module.optimizer_steps(0, self.warmup_epochs):
            say(
                f"pseudolabel: the training ends with its warm-up of {self.warmup_epochs} epochs, so that no "
                f"pseudo-label will ever be trained on; type --trainer.max_epochs N with N over that, or a smaller "
                f"--pseudolabel.warmup_epochs"
            )

    def remap(self, module: Classifier, places: Tensor) -> None:
        """Keeps the pseudo-labels of the images that are still there and have no label."""
        then = len(self.rows_)
        super().remap(module, places)
        trained = places.to(self.trained_.device)[self.trained_]
        self.trained_ = trained[trained >= 0]
        say(f"pseudolabel: {len(self.rows_):,} of {then:,} pseudo-labels are of images that are still there")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts what the epoch trained on, and a round, where one is due."""
        assert isinstance(pl_module, Classifier)
        if self.after == "training":
            if pl_module.phase.labeled:
                self.trained_ = torch.cat([self.trained_, self.rows_]).unique()
            return
        loader = trainer.train_dataloader
        assert isinstance(loader, TrainLoader)
        served = loader.relabeled_rows(trainer.fit_loop.batch_idx + 1)
        self.trained_ = torch.cat([self.trained_.cpu(), served]).unique()
        rounds, rest = divmod(pl_module.epoch + 1 - self.warmup_epochs, self.every_n_epochs)
        if rounds >= 0 and rest == 0:
            self._round(pl_module, rounds)

    def _round(self, module: Classifier, number: int) -> None:
        """Predicts the unlabeled pool and gives new targets to the images that the rule selects."""
        pool, classes = self.unlabeled(module), len(module.spec.class_names)
        rule, title = self._rule(number, len(pool), classes), f"pseudolabel: round {number + 1}"
        chosen, share = select(module, pool, rule, self.soft, title, _BINS)
        before = self._counts()
        self.relabel(module, chosen)
        now = self._counts()
        self.most_ = torch.maximum(now, self.most_.cpu()) if len(self.most_) else now
        self._report(module, number, len(pool), share, before)

    def _counts(self) -> Tensor:
        """Pseudo-labels of every class, (classes,) int64."""
        targets = self.targets_.cpu()
        return (targets.argmax(1) if targets.ndim > 1 else targets).bincount(minlength=len(self._names))

    def _rule(self, number: int, size: int, classes: int) -> Rule:
        """The rule of a round over a pool of `size` images."""
        match self.rule:
            case "threshold":
                return lambda c: selection.over_threshold(c.confidence, self.threshold)
            case "top_k_overall":
                return lambda c: selection.top_overall(c.confidence, self.top_k)
            case "top_k_per_class":
                return lambda c: selection.top_per_class(c.confidence, c.predicted, self.top_k, classes)
            case "percentile":
                k = min(100, self.percent * (number + 1)) * size // 100
                return lambda c: selection.top_overall(c.confidence, k)

    def _report(self, module: Classifier, number: int, size: int, confidence: Tensor, before: Tensor) -> None:
        """Logs a round: how many images, which classes, how confident, and how right where the hidden labels are known.

        `balance` is the entropy of the selected images' classes over its greatest value: 1 where all are selected as
        often, 0 where one alone is, or none.

        Args:
            module: the classifier.
            number: of the round, from 0.
            size: images in the pool.
            confidence: (bins,) share of the pool in each bin of confidence.
            before: (classes,) pseudo-labels of each in the round before.
        """
        names, hidden = module.spec.class_names, module.datamodule.hidden_labels
        counts, selected = self._counts(), len(self.rows_)
        p = counts[counts > 0] / max(1, selected)
        balance = float((p * (1 / p).log()).sum()) / math.log(max(2, len(names)))
        metrics: dict[str, float] = {"utilisation": selected / size, "balance": balance}
        metrics |= {f"count/{name}": float(count) for name, count in zip(names, counts, strict=True)}
        metrics |= {f"confidence/{i / _BINS:.1f}": float(share) for i, share in enumerate(confidence)}
        line = f"pseudolabel: round {number + 1} selects {selected:,} of {size:,} images"
        if hidden and selected:
            precision, per_class = hidden.precision(self.rows_, self.targets_)
            metrics |= {"precision": precision}
            metrics |= {f"precision/{n}": v for n, v, c in zip(names, per_class, counts, strict=True) if c}
            line += f", {100 * precision:.1f} % of them rightly"
        if selected == 0:
            line += "; training goes on with the labeled images alone"
        elif counts.max() > selected / 2:
            line += f"; more than half of them, {int(counts.max()):,}, as {names[int(counts.argmax())]!r}"
        fell = [f"{names[c]!r} from {before[c]:,} to {counts[c]:,}" for c in vanishing(before, counts)]
        line += f"; fewer of {', '.join(fell)}" if fell else ""
        say(line)
        module.log("pseudolabel/count", float(selected), prog_bar=True, sync_dist=True)
        module.log_dict({f"pseudolabel/{name}": value for name, value in metrics.items()}, sync_dist=True)

    def summary(self) -> str:
        """How many images were trained on by a pseudo-label, and how many have one now."""
        trained = f"{len(self.trained_):,} unlabeled images were trained on by a pseudo-label"
        now, most = self._counts(), self.most_.cpu()
        fell = [f"{self._names[c]!r} {now[c]:,}, once {most[c]:,}" for c in vanishing(most, now)]
        gone = f"; classes that vanish from them: {'; '.join(fell)}" if fell else ""
        return f"{trained}, {len(self.rows_):,} have one after the last round{gone}"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what the run that is resumed had learned; what it had trained on was not always counted."""
        nothing = {name: torch.empty(0, dtype=torch.int64) for name in ("trained", "most")}
        super().load_state_dict({**nothing, **state_dict})
