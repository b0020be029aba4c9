"""Logs figures to W&B while a network trains."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.loggers import WandbLogger

from semisup.classifier import Classifier
from semisup.errors import InputError
from semisup.runs.reading import read_metrics
from semisup.runtime.console import say
from semisup.tracking.record import MetricsCSV

if TYPE_CHECKING:
    from semisup.figures.gallery import Named

_ROUND = "pseudolabel/count"  # what every round of pseudo-labels logs


class LogFigures(pl.Callback):
    """Logs filters, confusion, reliability and rounds of pseudo-labels to W&B; where W&B isn't used it does nothing.

    After the last step it also logs the augmentations, and t-SNE of what the network makes of images. Confusion and
    reliability are those of the validation images. matplotlib and wandb are imported when there is something to log.
    What goes wrong is said in one line, once, and training goes on.

    Args:
        every_n_epochs: from one time to the next; pseudo-labels are drawn after every round of them.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._rounds = 0  # that have been drawn
        self._said = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the network, where it is time to."""
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._log(trainer, _network(pl_module, trainer.current_epoch + 1))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the round of pseudo-labels that the last epoch may have ended with: only now has it been logged."""
        if _ROUND in trainer.callback_metrics:
            self._log(trainer, self._new_rounds(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same after the last epoch, and what is drawn once."""
        self.on_train_epoch_start(trainer, pl_module)
        self._log(trainer, _once(pl_module))

    def _new_rounds(self, trainer: pl.Trainer) -> Named:
        from semisup.figures.pseudolabels import pseudolabels, rounds

        for record in trainer.loggers:
            if isinstance(record, MetricsCSV):
                found = rounds(read_metrics(record.run_dir))
                if len(found) > self._rounds:
                    self._rounds = len(found)
                    yield "pseudolabels", pseudolabels(found)

    def _log(self, trainer: pl.Trainer, figures: Named) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not loggers or not trainer.is_global_zero:
            return
        try:
            from semisup.figures.style import rendered

            for name, drawn in figures:
                image = rendered(drawn)
                for logger in loggers:
                    logger.log_image(f"figures/{name}", [image], step=trainer.global_step)
        except Exception as error:  # a figure is never worth a training
            if not self._said:
                self._said = True
                reason = str(error).partition("\n")[0]
                say(f"figures: not all are logged ({type(error).__name__}: {reason}); training goes on")


def _once(module: pl.LightningModule) -> Named:
    from semisup.figures import gallery

    assert isinstance(module, Classifier)
    yield from gallery.views(module.datamodule)
    with suppress(InputError):  # too few images, or a network that has diverged
        yield from gallery.last_embedding(module, module.datamodule)


def _network(module: pl.LightningModule, epochs: int) -> Named:
    from semisup.figures.artifacts import predicted
    from semisup.figures.calibration import calibration
    from semisup.figures.confusion import confusion, counted
    from semisup.figures.filters import filters
    from semisup.figures.stages import first_filters

    assert isinstance(module, Classifier)
    with suppress(InputError):  # a network that doesn't begin with filters has none to draw
        yield "filters", filters({f"after {epochs} epochs": first_filters(module)})
    data = module.datamodule
    if data.pools.val and data.pools.val.scorable:
        p, target = predicted(module, data.pools.val, data.eval_batch_size)
        yield "confusion", confusion(counted(p, target), module.spec.class_names, "validation images")
        yield "calibration", calibration(p, target, "validation images")
