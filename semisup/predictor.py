"""What a classifier is before it is trained: a network that predicts, its moving average, and the scores of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semisup.batch import Maker, Samples
from semisup.composition import Composition
from semisup.data.pools import DataSpec
from semisup.errors import InputError
from semisup.losses import LABELED
from semisup.metrics import Evaluation, Scores
from semisup.models import adapt, backbones, weights
from semisup.models.ema import EMA
from semisup.models.modes import evaluation_mode, frozen_batchnorm
from semisup.models.network import Network
from semisup.models.normalization import Normalization
from semisup.models.options import ModelOptions
from semisup.randomness import key
from semisup.runtime.console import say


class Predictor(pl.LightningModule):
    """Backbone and linear head, and where a strategy asks for one the moving average that is scored in their place.

    Args:
        spec: the dataset's classes and image size.
        strategy: says which modules there are beside the network, and which head evaluates.
        options: the network.
        seed: chooses the initial weights.
        restored: its weights are about to be restored from a checkpoint, so those of `--model.weights` are not read.

    Attributes:
        takes: the images that the backbone is built for.
        origin: of the weights that the backbone began with (`semisup.models.weights.Start.origin`); None for chance.
    """

    def __init__(
        self, spec: DataSpec, strategy: Composition, options: ModelOptions, seed: int, restored: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.strategy, self.options, self.seed = spec, strategy, options, seed
        name = options.backbone
        self.backbone_name = backbones.choose(spec.image_size) if name == "auto" else name
        wanted, trained = (spec.channels, spec.image_size, options.input_size), options.weights is not None
        self.takes = backbones.expected(self.backbone_name, *wanted, trained)
        self.network = self._initial()
        self.origin: dict[str, str] | None = None
        self._start: dict[str, Tensor] | None = (
            None  # the weights that it began with, which a phase may begin with again
        )
        if not restored:
            self.start()
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.ema: EMA | None = None
        loss = None if options.loss == "nll" else LABELED[options.loss]
        self.evaluations = nn.ModuleDict(
            {stage: Evaluation(spec.class_names, areas=stage == "test", loss=loss) for stage in ("val", "test")}
        )
        self.scores: dict[str, Scores] = {}

    def _initial(self) -> Network:
        """The network with the weights that the seed draws, and what is beside it."""
        network, needs = self._drawn(self.strategy.needs.modules), self.strategy.needs
        network.extra.update({name: self.beside_network(name, network) for name in needs.networks})
        return network

    def beside_network(self, name: str, network: Network | None = None) -> Network:
        """A network beside the one that trains, with weights that the seed draws by its name and the same inputs."""
        drawn = self._drawn({}, name)
        drawn.normalization = (network or self.network).normalization
        return drawn

    def _drawn(self, modules: Mapping[str, Maker], *name: str) -> Network:
        spec = self.spec
        with torch.random.fork_rng():
            torch.manual_seed(key(self.seed, "initial weights", *name))
            takes = self.takes
            own = (takes.mean, takes.std) if takes.mean and takes.std else None
            normalization = Normalization(self.options.normalization, takes.channels if own else spec.channels, own)
            backbone = backbones.build(self.backbone_name, takes.channels, takes.size)
            if (takes.channels, takes.size) != (spec.channels, spec.image_size):
                backbone = backbones.resizing(backbone, takes)
            width, classes = int(backbone.num_features), len(spec.class_names)  # type: ignore[arg-type]
            # As PyTorch begins: Glorot's weights and zero biases, of the papers' code, measured alike (RESULTS.md).
            head = nn.Linear(width, classes)
            extra = {name: make(width, classes) for name, make in modules.items()}
            # Channels last is the order that convolutions are fastest in (experiments/RESULTS.md).
            network = Network(normalization, backbone, head, extra)
            asked = self.options
            adapt.adapt(network, asked.adapt, asked.freeze, asked.lora_rank, asked.batchnorm)
            return network.to(memory_format=torch.channels_last)

    def start(self) -> None:
        """Puts the weights that `--model.weights` names in place of the backbone's random ones.

        Raises:
            InputError: there are none, or they are of another network.
        """
        if self.options.weights is None:
            return
        pretrained = weights.read(self.options.weights, self.backbone_name, self.network.backbone)
        for network in self.network.networks:
            weights.load(pretrained.tensors, network.backbone)
        self._start, self.origin = pretrained.tensors, pretrained.origin
        say(f"model: the backbone begins with the weights of {pretrained.source}, SHA-256 {pretrained.checksum[:12]}")
        for line in pretrained.said:
            say(f"model: {line}")
        if pretrained.statistics is not None and not self.network.normalization.take(*pretrained.statistics):
            say(
                f"model: these were trained under the normalization {pretrained.statistics[0]}, and get their images "
                f"under {self.options.normalization} here (--model.normalization)"
            )

    def restart(self) -> None:
        """Begins with fresh weights again: those that the seed draws, and then what strategies put in their place.

        Those that train in phases come last, since what they put there was trained from what the others did.
        """
        fresh = self._initial()
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.network, fresh)]
        pairs += [(part, fresh.extra[name]) for name, part in self.network.extra.items() if name in fresh.extra]
        for ours, drawn in pairs:
            if not (isinstance(ours, Network) and isinstance(drawn, Network)):
                ours.load_state_dict(drawn.state_dict())
                continue
            ours.backbone.load_state_dict(drawn.backbone.state_dict())
            if self._start is not None:
                weights.load(self._start, ours.backbone)
            ours.head.load_state_dict(drawn.head.state_dict())
        for part in sorted(self.strategy.parts.values(), key=lambda part: bool(part.phases(self))):
            part.initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float32 in [0, 1].

        By the weights that train; in evaluation mode, as `features` and `head`, by those that are scored: the moving
        average's where there is one.
        """
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, H, W) float32 in [0, 1]."""
        if self.compiled is None or not self.training:
            return (self.network if self.training else self.scored).features(images)
        if not self.captures:
            torch._dynamo.maybe_mark_dynamic(images, 0)  # else every new batch size would be compiled for
        return self.compiled(images)

    @property
    def captures(self) -> bool:
        """Whether the network's passes are captured in CUDA graphs, each for the one size of batch."""
        return self.options.compile == "reduce-overhead"

    def joint(self, *views: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Logits and features of several batches of images in one pass, so that batch norm sees one population.

        Returns:
            The logits (B, classes) of each batch (B, C, H, W), and its features (B, F).
        """
        features, sizes = self.features(torch.cat(views)), [len(images) for images in views]
        return self.head(features).split(sizes), features.split(sizes)

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of features (B, F)."""
        logits: Tensor = self.network.head(features) if self.training else self._scored_head(features)
        return logits

    @property
    def scored(self) -> Network:
        """The network that evaluates: the moving average where there is one, else the one that trains."""
        scored: Network = self.ema.average if self.ema else self.network
        return scored

    def _scored_head(self, features: Tensor) -> Tensor:
        name = self.evaluating_head
        logits: Tensor = (self.scored.extra[name] if name else self.scored.head)(features)
        return logits

    @property
    def extra(self) -> nn.ModuleDict:
        """The modules that the strategy trains beside the network (`Needs.modules`), by name."""
        return self.network.extra

    @property
    def teacher(self) -> EMA:
        """The moving average of the network, which follows it in evaluation mode and has no gradient.

        Raises:
            InputError: there is none.
        """
        if self.ema is None:
            raise InputError(f"{self.strategy.name} asks for a teacher and there is none; type a decay for its average")
        return self.ema

    def frozen_batchnorm(self) -> AbstractContextManager[None]:
        """A context in which passes through the network leave batch normalisation's running statistics as they are."""
        return frozen_batchnorm(self.network)

    def start_ema(self, decay: float) -> None:
        """Lets a moving average of the network evaluate from now on, or, with a decay of 0, the network itself."""
        self.ema = EMA(self.network, decay) if decay else None

    def take_average(self) -> None:
        """Goes on with the weights of the moving average, where there is one: what is trained next begins with them."""
        if self.ema is not None:
            self.network.load_state_dict(self.ema.average.state_dict())

    @property
    def evaluating_head(self) -> str:
        """The module that evaluates in place of the head; empty for none, as in a phase that doesn't train it."""
        name = self.strategy.evaluating_head
        return name if name in self.network.extra else ""

    # ---- scores

    def evaluate(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) float32 in [0, 1], by the weights that evaluate.

        Those of the moving average where the strategy asks for one (`LossStrategy.ema_decay`), else those that train;
        by another head than the network's where it brings one for that (`TermStrategy.evaluating_head`).
        Always in evaluation mode and without a gradient, in a loss as well: no statistics move, and no dropout acts.
        """
        with evaluation_mode(self.scored):
            return self._scored_head(self.scored.features(images))

    def validation_step(self, batch: Samples, batch_idx: int) -> None:
        """Scores a batch of the validation pool."""
        self._evaluation("val").update(self.evaluate(batch.views["none"]), batch.target)

    def test_step(self, batch: Samples, batch_idx: int) -> None:
        """Scores a batch of the test pool."""
        self._evaluation("test").update(self.evaluate(batch.views["none"]), batch.target)

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of the validation pool."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Logs the scores of the test pool."""
        self._finish("test")

    def _evaluation(self, stage: str) -> Evaluation:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    def group(self, labels: Tensor) -> None:
        """Lets classes be scored by how many labeled images they have, of these labels (N,) int64."""
        for stage in self.evaluations:
            self._evaluation(stage).group(labels)

    def _finish(self, stage: str) -> None:
        self.scores[stage] = scores = self._evaluation(stage).compute()
        scalars = {f"{stage}/{name}": value for name, value in scores.scalars.items()}
        # Already the same on every rank; sync_dist only tells Lightning so.
        for name, value in scalars.items():
            self.log(name, value, prog_bar=name.endswith("/accuracy"), sync_dist=True, batch_size=1)
