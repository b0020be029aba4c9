"""Semi-supervised image classification on PyTorch Lightning: few labels, many unlabeled pictures.

    model = semisup.fit("pictures", "fixmatch", trainer={"max_epochs": 50})
    model.predict("new-pictures").classes
    model = semisup.load("runs/folder/fixmatch/20260101-120000-s0")

What is here is imported when it is first used, so that `import semisup` and the light verbs of the command line stay
free of torch. All else is imported from its own module (`from semisup.classifier import Classifier`).

A program that imports torch after this stays fast on a busy machine (`semisup/runtime/openmp.py`).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from semisup.runtime.openmp import bound_spinning

if TYPE_CHECKING:
    from semisup.api import fit as fit
    from semisup.data.given import Data as Data
    from semisup.model import Model as Model
    from semisup.model import Predictions as Predictions
    from semisup.model import load as load

__version__ = "0.1.0"
__all__ = ["Data", "Model", "Predictions", "fit", "load"]
_MODULES = {name: "semisup.model" for name in ("Model", "Predictions", "load")}
_MODULES |= {"Data": "semisup.data.given", "fit": "semisup.api"}

if "torch" not in sys.modules:  # else it is too late, and a script that begins once more must see that
    bound_spinning()


def __getattr__(name: str) -> Any:
    """Imports what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'semisup' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
