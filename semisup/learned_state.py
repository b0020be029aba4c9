"""What a strategy learns is kept without code of its own: attributes whose names end in `_`."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semisup.errors import require


class LearnedState(pl.Callback):
    """A callback that saves, restores and moves its attributes that end in `_`: tensors, numbers, dicts and lists."""

    def state_dict(self) -> dict[str, Any]:
        """What was learned: name without the trailing `_` -> value."""
        return {name[:-1]: value for name, value in vars(self).items() if _is_learned(name)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what the run that is resumed had learned.

        Raises:
            InputError: it had learned something else.
        """
        mine = {name[:-1] for name in vars(self) if _is_learned(name)}
        require(
            mine <= state_dict.keys(),
            f"the checkpoint's {type(self).__name__} had not learned {', '.join(sorted(mine - state_dict.keys()))}; a "
            f"resumed run must go on as it began",
        )
        for name in mine:
            setattr(self, f"{name}_", state_dict[name])

    def move_state(self, device: torch.device) -> None:
        """Moves what was learned to a device; called when a fit begins, after a resumed run's state is restored."""
        for name in [name for name in vars(self) if _is_learned(name)]:
            setattr(self, name, _moved(getattr(self, name), device))


def _is_learned(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _moved(inner, device) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, device) for inner in value]
    return value.to(device) if isinstance(value, Tensor) else value
