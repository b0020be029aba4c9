"""Strategies as a stranger could write them, which between them use every part of the contract; one is drawn."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.data.pool import Pool
from semisup.models.optim import Constant
from semisup.predict import predict
from semisup.presentation import Figure, Presentation, line
from semisup.runtime.ranks import gather, gather_rows, gather_with_gradient, mean
from semisup.strategy import Loss, LossStrategy, Outputs, Phase, TermStrategy

WIDTH, BANK = 5, 30
PRESENTATION = Presentation(
    figures=(
        Figure("bank", "The memory bank, a row for each key", "outside:draw_bank", when="end", title="Memory bank"),
        Figure("terms", "The terms", panels=(line("Unlabeled images", "train/unsupervised"),), section="Mine"),
        Figure("filters", "Filters, and their negatives", "outside:draw_filters", when="epochs"),
    ),
    summary={"train/unsupervised": "loss of the unlabeled images"},
    report="outside:tell",
)


def draw_bank(run: Any) -> Any:
    """The keys as a picture, in two parts."""
    from semisup.figures.filters import filters

    bank = run.state("Everything")["bank"].view(-1, 1, 1, WIDTH)
    yield "0-all", filters({"bank": bank})
    yield "1-first", filters({"first": bank[:1]})


def draw_filters(run: Any) -> Any:
    """In place of the framework's figure of this name."""
    from semisup.figures.filters import filters
    from semisup.figures.stages import first_filters

    yield "", filters({"mine": -first_filters(run.module)})


def tell(runs: Any) -> Any:
    """What the report says of an arm."""
    from semisup.report.content import paragraph

    return [paragraph(f"The bank holds {len(run.state('Everything')['bank'])} keys.") for run in runs]


class Everything(LossStrategy):
    """Draws by label, a projection head and its teacher, mixing across ranks, a prior, a bank, a status per image."""

    gives = ("labeled", "strong", "strong_features")
    presentation = "outside:PRESENTATION"

    def __init__(self, ema_decay: float = 0.9) -> None:
        self.ema_decay = ema_decay
        self.needs = Needs(
            labeled_views={"weak": "weak", "weak_2": "weak"},
            unlabeled_views={"weak": "weak", "weak_2": "weak", "strong": "strong"},
            unlabeled_ratio=2,
            modules={"projection": lambda width, classes: nn.Linear(width, WIDTH)},
        )
        self.prior_ = torch.empty(0)
        self.bank_ = torch.zeros(BANK, WIDTH)
        self.status_ = torch.empty(0, dtype=torch.int64)
        self.seen_ = 0
        self.more_: dict[str, list[Tensor]] = {"ramps": [torch.zeros(())]}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """A status for every image of the pool, and a prior for every class."""
        self.status_ = torch.full((len(pl_module.datamodule.pools.unlabeled),), -1)
        self.prior_ = torch.full((len(pl_module.spec.class_names),), 1 / len(pl_module.spec.class_names))

    def loss(self, module: Any, batch: Batch) -> Any:
        """The sum of one term for each part of the contract."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        assert unlabeled is not None
        sizes = [len(labeled), len(labeled), len(unlabeled)]
        views = [labeled.views["weak"], labeled.views["weak_2"], unlabeled.views["strong"]]
        features = module.features(torch.cat(views)).split(sizes)
        logits = [module.head(x) for x in features]

        teacher = module.teacher.features(unlabeled.views["weak"])
        targets = (module.teacher.head(teacher) + module.teacher(unlabeled.views["weak_2"])).softmax(1)
        self.prior_ = 0.9 * self.prior_ + 0.1 * mean(targets.mean(0))
        targets = targets / self.prior_
        targets = targets / targets.sum(1, keepdim=True)
        self.status_[gather(unlabeled.index)] = gather(targets.argmax(1))

        keys = gather(module.teacher.extra["projection"](teacher))
        self.bank_ = torch.cat([keys, self.bank_])[:BANK]
        everyone = gather_with_gradient(module.extra["projection"](features[2]))
        contrast = (module.extra["projection"](features[2]) @ torch.cat([everyone, self.bank_]).T).logsumexp(1).mean()

        draw = module.draw(unlabeled, batch, "mix")
        share = draw.beta("share", 0.5).view(-1, 1, 1, 1)
        partners = draw.permutation("partners")[unlabeled.position]
        mixed = share * unlabeled.views["weak"] + (1 - share) * gather(unlabeled.views["weak_2"])[partners]
        with module.frozen_batchnorm():
            smooth = module(mixed).square().mean()

        ramp = min(1.0, batch.step / (0.4 * module.total_steps))
        self.seen_ += len(unlabeled) * module.trainer.world_size
        self.more_["ramps"].append(torch.tensor(ramp))
        supervised = module.labeled_loss(logits[0], labeled.target) + module.labeled_loss(logits[1], labeled.target)
        unsupervised = F.cross_entropy(logits[2], targets)
        loss = supervised + ramp * unsupervised + 0.1 * contrast + 0.1 * smooth
        return (
            loss,
            {"unsupervised": unsupervised},
            dict(zip(self.gives, (logits[0], logits[2], features[2]), strict=True)),
        )


class Balanced(TermStrategy):
    """A second head on the owner's features, with views and a state of its own."""

    reads = ("strong_features",)

    def __init__(self) -> None:
        self.needs = Needs(
            unlabeled_views={"jitter": "shift"},
            unlabeled_ratio=2,
            modules={"second": lambda width, classes: nn.Linear(width, classes)},
        )
        self.total_ = torch.zeros(())

    def term(self, module: Any, batch: Batch, outputs: Outputs) -> Any:
        """Agreement of the second head on the owner's features with the first one on a view of its own."""
        assert batch.unlabeled is not None
        target = module(batch.unlabeled.views["jitter"]).argmax(1)
        term = F.cross_entropy(module.extra["second"](outputs["strong_features"]), target)
        self.total_ = self.total_ + mean(term)
        return 0.5 * term, {"agreement": term}


class InPhases(LossStrategy):
    """Tells its images from each other, trains, gives every unlabeled image a class, and trains on all of them anew."""

    def __init__(self, restart: bool = True, ema_decay: float = 0.9) -> None:
        self.restart, self.ema_decay = restart, ema_decay
        self.labels_ = torch.empty(0, dtype=torch.int64)
        self.steps_: list[Tensor] = []

    def phases(self, module: Any) -> list[Phase]:
        """A loss, images, an optimiser and a head of its own first, then the training, then other images."""
        count = len(module.datamodule.pools.labeled)
        first = Phase(
            name="rows",
            epochs=2,
            needs=Needs(modules={"rows": lambda width, classes: nn.Linear(width, count)}),
            loss=self.rows_loss,
            labeled=lambda module: module.datamodule.pools.labeled.with_labels(torch.arange(count)),
            batch_size=6,
            ema_decay=0.0,
            optimizer=lambda module: torch.optim.Adam(x for x in module.network.parameters() if x.requires_grad),
            schedule=Constant(),
            validated=False,
            metrics="rows",
        )
        return [first, Phase(end=self.relabel), Phase("anew", labeled=self.union, restart=self.restart)]

    def begin_phase(self, module: Any, phase: Phase) -> None:
        """The head of the classes is of the training."""
        module.network.head.requires_grad_(phase.loss is None)

    def rows_loss(self, module: Any, batch: Batch) -> Loss:
        """Which image it is."""
        self.steps_.append(torch.tensor([batch.step, module.total_steps, module.epoch]))
        logits = module.extra["rows"](module.features(batch.labeled.views["weak"]))
        return F.cross_entropy(logits, batch.labeled.target), {}

    def loss(self, module: Any, batch: Batch) -> Loss:
        """Which class it is."""
        self.steps_.append(torch.tensor([batch.step, module.total_steps, module.epoch]))
        return module.labeled_loss(module(batch.labeled.views["weak"]), batch.labeled.target), {}

    def relabel(self, module: Any) -> None:
        """By the weights that evaluate."""
        data = module.datamodule
        shares = [p.argmax(1) for _, p in predict(module, data.pools.without_label, 16, *data.rank)]
        self.labels_ = gather_rows(torch.cat(shares))

    def union(self, module: Any) -> Pool:
        """The labeled images and all others."""
        pools = module.datamodule.pools
        labels = torch.cat([pools.labeled.labels, self.labels_.cpu()])
        return pools.labeled.followed_by(pools.without_label).with_labels(labels)
