"""Classes that configurations name by the modules they used to lie in."""

from __future__ import annotations

from typing import Any

from semisup.runtime.console import say

_MOVED = {
    "semisup.probe.": "semisup.training.probe.",
    "semisup.sync_batchnorm.": "semisup.runtime.sync_batchnorm.",
    "semisup.tracking.train_accuracy.": "semisup.training.train_accuracy.",
}


def follow_moves(value: Any) -> Any:
    """The value, or the dict or list of them, with every class named by where it lies now; says each that has moved."""
    if isinstance(value, dict):
        return {key: follow_moves(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [follow_moves(inner) for inner in value]
    if isinstance(value, str):
        for old, new in _MOVED.items():
            if value.startswith(old):
                now = new + value.removeprefix(old)
                say(f"{value} lies in {now} now; write that instead")
                return now
    return value
