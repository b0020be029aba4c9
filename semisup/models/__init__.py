"""Networks: backbones, input normalisation, moving average, optimisers."""

from typing import Any

# Of the optimiser that trains where none is named.
SGD_OPTIONS: dict[str, Any] = {"lr": 0.03, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
# The same of a transformer, which plain gradient descent hardly trains; and of its schedule, where none is named.
ADAMW_OPTIONS: dict[str, Any] = {"lr": 3e-4, "weight_decay": 0.05}
ADAMW_WARMUP = 0.1  # share of the steps
