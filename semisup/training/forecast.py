"""What a training will take, told at its beginning: memory before the first step, and time after the second.

Memory is measured on an eighth and on a quarter of the first batch, forwards, backwards and in evaluation, and grows
evenly with the images of a batch. These passes leave nothing behind: no step is taken, and what they change, such as
the statistics of batch normalisation, is put back. A training that needs more than there is is refused before the
system could kill it. Several devices measure each by itself, without a word to the others, since a pass may fail on one
of them alone; then they compare, and all go on or none. Where a network is spread over them the time alone is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from semisup.batch import Batch, Samples
from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.models.modes import enough_images, separate_batchnorm
from semisup.runtime.console import say, time_line
from semisup.runtime.memory import available, forget_peak, peak
from semisup.runtime.ranks import gather, rehearsal

_PARTS = (1 / 8, 1 / 4)  # of a batch
_BATCHNORM_IMAGES = 2  # images; batch normalisation needs as many
_SPARE = 0.9  # of what there is, for a batch that is advised


class TooLittleMemory(InputError):
    """A training needs more memory than there is."""


class Forecast(pl.Callback):
    """Tells what each phase of a training takes, and refuses one that takes more memory than there is.

    Args:
        anyway: go on with too little memory.
    """

    def __init__(self, anyway: bool = False) -> None:
        self.anyway = anyway
        self._phase = -1  # that was begun
        self._steps, self._since, self._scoring = 0, 0.0, 0.0  # the last: seconds to score an image

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Measures before the first step of a phase.

        Raises:
            TooLittleMemory: the phase needs more than there is, and nobody asked to go on.
        """
        if pl_module.phases.index != self._phase:
            self._phase, self._steps = pl_module.phases.index, 0
            if type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy):  # each holds all of the network
                self._memory(trainer, pl_module, batch)

    def _memory(self, trainer: pl.Trainer, module: Classifier, batch: Batch) -> None:
        """Of the rank that has the least room, the same on all of them."""
        device = module.device if trainer.world_size > 1 else "cpu"
        everyone = gather(torch.tensor([self._needed(trainer, module, batch)], dtype=torch.float64, device=device))
        takes, there, fits = max(everyone.tolist(), key=lambda its: its[0] / its[1] if its[1] else math.inf)
        if not there:  # on some rank it can't be told
            return
        told = f"{_gigabytes(takes)} of {_gigabytes(there)}"
        if takes > there and not self.anyway:
            raise TooLittleMemory(
                f"this training needs about {told} of memory that there are; type {_advice(module, trainer, int(fits))}"
                f", or --yes to go on"
            )
        say(f"memory: about {told}{f' for each of {trainer.world_size} ranks' if trainer.world_size > 1 else ''}")

    def _needed(self, trainer: pl.Trainer, module: Classifier, batch: Batch) -> tuple[float, float, float]:
        """Bytes that this rank needs, those that it can have, and how large a global batch fits; 0 where unknown."""
        for _ in range(2):  # what the process takes beside a pass can only add to it: no refusal by one measurement
            if (measured := self._measured(trainer, module, batch)) is None:
                return 0, 0, 0
            base, training, scoring = measured
            whole, left = _images(batch), available(module.device)
            if module.device.type == "cpu":
                left //= trainer.num_devices  # the ranks of a machine share it
            # What the optimiser is about to hold: two numbers for each weight at the most.
            weights = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
            kept = 0 if any(optimizer.state for optimizer in trainer.optimizers) else 2 * weights
            of_evaluation = scoring.bytes_of(module.datamodule.eval_batch_size * whole / len(batch.labeled))
            takes, there = max(training.bytes_of(whole) + kept, of_evaluation), base + left if base and left else 0
            if not there or takes <= there:
                break
        fits = module.datamodule.batch_size * training.images_in(_SPARE * there - kept) / whole
        return takes, there, fits

    def _measured(self, trainer: pl.Trainer, module: Classifier, batch: Batch) -> tuple[int, _Line, _Line] | None:
        """Bytes before, those of a step and those of an evaluation; None where a batch can't be measured in part."""
        sizes = [max(_BATCHNORM_IMAGES, round(part * len(batch.labeled))) for part in _PARTS]
        parts = [_first(batch, size, trainer.global_rank) for size in sizes]
        if len(parts[1].labeled) >= len(batch.labeled):
            return None
        try:
            with _nothing_left_behind(module), rehearsal(), separate_batchnorm(module):
                forget_peak(module.device)
                base = peak(module.device)
                training = _measure(lambda part: _train(trainer, module, part), parts, module.device)
                scoring = _measure(lambda part: _score(trainer, module, part), parts, module.device)
        except Exception:  # a loss that takes whole batches alone; what is wrong with it otherwise, its first step says
            return None
        self._scoring = scoring.seconds / len(parts[1].labeled)
        return base, training, scoring

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Tells the time when the second step of a phase is over; the first one is slower."""
        self._steps += 1
        if self._steps > 2 or trainer.accumulate_grad_batches > 1:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        before, self._since = self._since, time.monotonic()
        phases = pl_module.phases
        steps = pl_module.total_steps - phases.done(trainer)
        if self._steps == 2 and steps > 0:
            pool = pl_module.datamodule.pools.val if trainer.limit_val_batches else None
            scored = (len(pool) if pool else 0) / trainer.world_size
            an_epoch = pl_module.optimizer_steps(trainer.current_epoch, 1)
            times = steps / (an_epoch * (trainer.check_val_every_n_epoch or 1))
            seconds = steps * (self._since - before) + times * scored * self._scoring
            say(time_line(phases.title, seconds, steps))


@dataclass(frozen=True)
class _Line:
    """Bytes as a line over the images of a batch, through two measured points.

    Attributes:
        images: of both.
        bytes: that they needed.
        seconds: that the larger one took.
    """

    images: tuple[int, int]
    bytes: tuple[int, int]
    seconds: float

    @property
    def slope(self) -> float:
        return max(0, self.bytes[1] - self.bytes[0]) / max(1, self.images[1] - self.images[0])

    def bytes_of(self, images: float) -> float:
        """What so many images need."""
        return self.bytes[1] + self.slope * (images - self.images[1])

    def images_in(self, count: float) -> float:
        """How many images so many bytes are enough for."""
        return max(0, self.images[1] + (count - self.bytes[1]) / max(1.0, self.slope))


def _measure(run: Callable[[Batch], None], parts: list[Batch], device: torch.device) -> _Line:
    needed, seconds = [], 0.0
    for part in parts:
        forget_peak(device)
        since = time.monotonic()
        run(part)
        needed.append(peak(device))  # on CUDA this waits for nothing, but the peak is counted as kernels are queued
        seconds = time.monotonic() - since
    return _Line((_images(parts[0]), _images(parts[1])), (needed[0], needed[1]), seconds)


def _train(trainer: pl.Trainer, module: Classifier, batch: Batch) -> None:
    """A training step without its end."""
    with trainer.precision_plugin.train_step_context(), enough_images():
        loss, *_ = (module.phase.loss or module.strategy.loss)(module, batch)
    loss.backward()
    module.zero_grad(set_to_none=True)


def _score(trainer: pl.Trainer, module: Classifier, batch: Batch) -> None:
    with trainer.precision_plugin.val_step_context():
        served = module.datamodule.features is not None  # in place of images
        module.evaluate(next(iter(batch.labeled.views.values())) if served else batch.labeled.image.float() / 255)


def _first(batch: Batch, labeled: int, rank: int) -> Batch:
    """The first images of a batch, as many labeled ones as that, and of the unlabeled ones the same part.

    They have the positions that they would have if every rank had a batch of that size.
    """

    def first(samples: Samples, count: int) -> Samples:
        position = samples.position[:count] - samples.position[0] + rank * count
        return replace(samples.first(count), position=position)

    unlabeled = batch.unlabeled
    count = 0 if unlabeled is None else max(1, round(labeled / len(batch.labeled) * len(unlabeled)))
    return Batch(batch.step, first(batch.labeled, labeled), unlabeled and first(unlabeled, count))


def _images(batch: Batch) -> int:
    """Images that go through the network in a step."""
    return sum(len(stream) * len(stream.views) for stream in batch.streams)


@contextmanager
def _nothing_left_behind(module: Classifier) -> Iterator[None]:
    """Puts back what passes through the network change, and lets them draw from the same random numbers."""
    compiled, module.compiled = module.compiled, None  # else these batch sizes would be compiled for
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    learned = {name: deepcopy(part.state_dict()) for name, part in module.strategy.parts.items()}
    try:
        with torch.random.fork_rng():
            yield
    finally:
        module.compiled = compiled
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
        for name, part in module.strategy.parts.items():
            part.load_state_dict(learned[name])


def _advice(module: Classifier, trainer: pl.Trainer, fits: int) -> str:
    data, advice = module.datamodule, []
    if 0 < fits < data.batch_size:
        advice.append(f"--data.batch_size {fits}")
    if (size := getattr(data, "image_size", None)) is not None:
        advice.append(f"--data.image_size {size // 2}")
    if "32" in str(trainer.precision):
        advice.append("--trainer.precision bf16-mixed")
    return ", or ".join(advice) or "a smaller --data.batch_size"


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.1f} GB"
