"""The figure of `metapseudolabels`: what its student told its teacher."""

from __future__ import annotations

from semisup.presentation import Figure, Presentation, line

PRESENTATION = Presentation(
    figures=(
        Figure(
            "feedback",
            "By how much a student's step on pseudo-labels lowers its loss of labeled images, beside what is usual",
            panels=(line("Feedback of the student to its teacher", "train/feedback"),),
        ),
    ),
)
