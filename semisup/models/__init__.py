"""Networks: backbones, input normalisation, moving average, optimisers."""

from typing import Any

# Of the optimiser that trains where none is named.
SGD_OPTIONS: dict[str, Any] = {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
