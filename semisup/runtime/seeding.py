"""Layers that callbacks make while a training is set up are the same in two runs of one seed, and on every rank."""

from __future__ import annotations

import pytorch_lightning as pl

from semisup.randomness import seed_libraries


class Seeding(pl.Callback):
    """Seeds the generators of Python, numpy and torch in its `setup`, for whoever comes next.

    One before each part of a strategy keeps the layers of one from depending on how much another draws, as where only
    rank 0 draws; one after the last does so for the hooks that follow.

    Args:
        seed: the run's.
        who: comes next.
    """

    def __init__(self, seed: int, who: str) -> None:
        self.seed, self.who = seed, who

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Seeds them."""
        seed_libraries(self.seed, "set-up", self.who)
