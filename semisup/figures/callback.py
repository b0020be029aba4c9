"""Logs figures to W&B while a network trains."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from semisup import figures, presentation
from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.presentation import PICTURES, Figure
from semisup.runtime.console import say

if TYPE_CHECKING:
    from semisup.figures.artifacts import Parts, RunArtifacts


class LogFigures(pl.Callback):
    """Logs the figures of a run to W&B when they are due (`Figure.when`); where W&B isn't used it does nothing.

    They are the framework's and those that the strategies bring. Confusion and reliability are those of the validation
    images. matplotlib and wandb are imported when there is something to log. What goes wrong is said in one line, once,
    and training goes on.

    Args:
        every_n_epochs: from one time to the next, of those that are due every few epochs.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._rows: dict[str, int] = {}  # metric -> rows of it that had been logged when its figure was drawn
        self._said = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the network, where it is time to."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._log(trainer, self._drawn(trainer, pl_module, "epochs"))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws what is drawn of a metric that the last epoch may have ended with: only now has it been logged."""
        self._log(trainer, self._drawn(trainer, pl_module, *trainer.callback_metrics))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same after the last epoch, and what is drawn once."""
        self.on_train_epoch_start(trainer, pl_module)
        self._log(trainer, self._drawn(trainer, pl_module, "end"))

    def _drawn(self, trainer: pl.Trainer, module: pl.LightningModule, *due: str) -> Parts:
        """The figures that are due, those left out that there is nothing to draw of, or nothing new."""
        assert isinstance(module, Classifier)
        brought = [presentation.load(part.presentation) for part in module.strategy.parts.values()]
        wanted = [figure for figure in figures.figures_of(brought).values() if figure.when in due]
        if wanted:
            from semisup.figures.live import Live

            run = Live(trainer, module, trainer.current_epoch + ("epochs" in due))
            for figure in wanted:
                with suppress(InputError):
                    if figure.when in ("epochs", "end") or self._is_new(figure, run):
                        yield from figures.drawn(figure, run)

    def _is_new(self, figure: Figure, run: RunArtifacts) -> bool:
        """Whether the metric that a figure is drawn of was logged since."""
        before = self._rows.get(figure.name, 0)
        self._rows[figure.name] = sum(figure.when in row for row in run.metrics)
        return self._rows[figure.name] > before

    def _log(self, trainer: pl.Trainer, drawn: Parts) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not loggers or not trainer.is_global_zero:
            return
        try:
            from semisup.figures.style import rendered

            for name, picture in drawn:
                image = rendered(picture)
                for logger in loggers:
                    logger.log_image(f"{PICTURES}{name}", [image], step=trainer.global_step)
        except Exception as error:  # a figure is never worth a training
            if not self._said:
                self._said = True
                reason = str(error).partition("\n")[0]
                say(f"figures: not all are logged ({type(error).__name__}: {reason}); training goes on")
