"""The figure of `pseudolabel`, its panels and its part of the report: the rounds."""

from __future__ import annotations

from semisup.figures import of_rounds

PRESENTATION = of_rounds("pseudolabel")
