"""Curriculum labeling (Cascante-Bonilla et al. 2020, arXiv 2001.06001): pseudo-labels for more and more images.

    semisup fit --data stl10 --strategy curriculum
    semisup fit --data stl10 --strategy kmeans+curriculum --curriculum.step 25

Algorithm 1 of the paper. A network is trained on the labeled
images. By its last weights that evaluate, all unlabeled images are predicted, and those over the 80th percentile of
confidence are labeled; the next network is trained from the beginning on them and the labeled ones. So it goes on with
the 60th percentile, and so on, until every unlabeled image is labeled: with steps of 20 % six trainings, each a phase
of `--trainer.max_epochs` over its own images, and the last one is the result. Every image is labeled anew each time.

Fresh weights in every cycle are the paper's answer to confirmation bias. Images of equal confidence at the percentile
are taken in the order of their rows.
"""

from __future__ import annotations

from semisup.classifier import Classifier
from semisup.errors import require
from semisup.strategy import Phase
from strategies.pseudolabel import PseudoLabel


class CurriculumLabeling(PseudoLabel):
    """Pseudo-labels for the most confident 20 %, 40 %, ... of the pool, from fresh weights (Cascante-Bonilla 2020).

    Args:
        step: percent of the unlabeled images that every cycle adds.
        restart: every cycle begins with fresh weights, and not with those of the one before.
    """

    def __init__(self, step: int = 20, restart: bool = True) -> None:
        require(1 <= step <= 100, f"curriculum.step is {step}, but must be from 1 to 100")
        super().__init__(rule="percentile", after="training", restart=restart)
        self.percent = step

    def phases(self, module: Classifier) -> list[Phase]:
        """The training on labeled images, and the cycles; all but the last one end with new labels."""
        cycles = -(-100 // self.percent)
        names = ["training", *(f"cycle {number}" for number in range(1, cycles + 1))]
        return [
            Phase(
                name,
                labeled=self.union if number else None,
                restart=self.restart and number > 0,
                end=lambda module, number=number: self._round(module, number),  # type: ignore[misc]
            )
            for number, name in enumerate(names)
        ]
