"""One clear error of what Lightning says of its own options: values it refuses late, callbacks that can't work here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from semisup.errors import InputError

_LIGHTNING = ("pytorch_lightning.", "lightning_fabric.", "lightning_utilities.")
# What acts by the options of `--trainer` alone: an error of torch beneath it is one of what it was asked for.
_ADDED = tuple(f"pytorch_lightning.{part}." for part in ("callbacks", "profilers", "tuner", "loggers"))
_OURS = ("semisup.", "strategies.", "datamodules.")


class Refused(InputError):
    """Lightning can't do what its options ask for."""


@contextmanager
def lightning_errors() -> Iterator[None]:
    """Makes one clear error of one that Lightning raises itself, or that one of its own callbacks runs into.

    Raises:
        Refused: in place of such an error; all others stay what they are.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (words := _words(error)) is None:
            raise
        raise Refused(f"{words}; look at the options of --trainer") from error


def _words(error: Exception) -> str | None:
    """What Lightning or a callback of it says by an error; None where it is not theirs."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__")) for frame in frames]
    said = " ".join(str(error).split()) or type(error).__name__
    added = max((place for place, name in enumerate(names) if name.startswith(_ADDED)), default=None)
    if added is not None and not any(name.startswith(_OURS) for name in names[added:]):
        owner = frames[added].f_locals.get("self")
        return f"{type(owner).__name__ if owner is not None else 'Lightning'} can't do its work here: {said}"
    return f"Lightning refuses this training: {said}" if names[-1].startswith(_LIGHTNING) else None
