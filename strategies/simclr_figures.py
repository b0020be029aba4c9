"""The figure of `simclr`: how its pretraining went."""

from __future__ import annotations

from semisup.presentation import Figure, Presentation, line

PRESENTATION = Presentation(
    figures=(
        Figure(
            "contrast",
            "Pretraining on views of images",
            panels=(
                line("Pretraining: loss", "pretrain/loss"),
                line("Pretraining: validation accuracy of nearest labeled neighbours", "pretrain/knn_accuracy"),
            ),
        ),
    ),
    summary={"pretrain/knn_accuracy": "validation accuracy of nearest labeled neighbours on the pretrained features"},
)
