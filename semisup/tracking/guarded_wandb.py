"""W&B that is never in the way: no prompt, no long wait, and no error of it ends a training."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.escape import shell
from semisup.runs.redaction import redacted
from semisup.runtime.console import say
from semisup.tracking import login

INIT_SECONDS = 20.0  # until the server must have accepted the run
FINISH_SECONDS = 60.0  # until what is left must be uploaded when the run ends
GRACE_SECONDS = 15.0  # that closing may take longer than W&B itself was told


class GuardedWandb(WandbLogger):
    """Lightning's W&B logger, with every call to W&B guarded. wandb is imported at the first call, on rank 0.

    Online it first looks whether the server answers, and works offline where it doesn't. Whatever W&B raises later is
    said once, and training goes on; W&B is still tried at every call, since one bad figure should not cost the rest.

    Args:
        run_dir: W&B's files go into `run_dir/wandb`.
        mode: `"online"`, `"offline"`, or `"auto"`: online where we are logged in.
        **init: further arguments of `wandb.init`: id, name, project, entity, group, job_type, tags, config.
    """

    def __init__(self, run_dir: Path, mode: str, **init: Any) -> None:
        super().__init__(save_dir=str(run_dir), **init)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on, and wandb warns of it
        self._mode = mode
        self._guard: _Guarded | None = None
        self._said = False
        self._kept_in = Path(run_dir) / "wandb"

    @property
    def experiment(self) -> Any:
        """The W&B run behind a guard; on other ranks, and where W&B can't start at all, something that does nothing.

        Lightning asks for it before the first step. The run starts, and wandb is imported, when it is used.
        """
        if self._guard is None:
            self._guard = _Guarded(self._start, self.broke)
        return self._guard

    def broke(self, error: Exception) -> None:
        """Says, the first time, that W&B failed."""
        if not self._said:
            self._said = True
            logging.raiseExceptions = False  # W&B's log lies on the same disk, and would say so at every line
            say(f"W&B failed ({_reason(error)}); the run goes on, metrics.csv is complete; later: {self._sync()}")

    @rank_zero_only
    def finish(self, exit_code: int = 0) -> None:
        """Closes the W&B run; after at most 75 s it goes on without waiting. What is logged later goes nowhere."""
        run, self._guard, self._experiment = self._experiment, _Guarded(lambda: None, self.broke), None
        if run is None:
            return

        def close() -> None:
            with self._tolerant():
                run.finish(exit_code=exit_code)

        thread = threading.Thread(target=close, daemon=True)
        thread.start()
        thread.join(FINISH_SECONDS + GRACE_SECONDS)
        if thread.is_alive():
            self.broke(TimeoutError("it did not finish in time"))

    # These build W&B's images and tables before they reach the guarded run.

    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Logs images; see `WandbLogger.log_image`."""
        with self._tolerant():
            super().log_image(*args, **kwargs)

    def log_table(self, *args: Any, **kwargs: Any) -> None:
        """Logs a table; see `WandbLogger.log_table`."""
        with self._tolerant():
            super().log_table(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_guard": None}

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.broke(error)

    def _sync(self) -> str:
        online = "--include-online " if self._wandb_init.get("mode") == "online" else ""
        return f"wandb sync {online}{shell(self._kept_in)}"

    @rank_zero_only
    def _start(self) -> Any:
        """Starts the run online or, where that can't be, offline; None where neither can be."""
        problem: Exception | None = None
        for mode in ("online", "offline") if self._goes_online() else ("offline",):
            try:
                return self._init(mode)
            except Exception as error:
                problem = error
                self._experiment, self._wandb_init["mode"] = None, "offline"
                if mode == "online":
                    say(f"W&B: {login.base_url()} fails ({_reason(error)}), going on offline; later: {self._sync()}")
                with suppress(Exception):
                    import wandb

                    wandb.teardown()  # else the second attempt would wait for the first one
        assert problem is not None
        self.broke(problem)
        return None

    def _goes_online(self) -> bool:
        url = login.base_url()
        if self._mode == "offline":
            return False
        if not login.logged_in():
            say(f"W&B: not logged in to {url}, going on offline; later: wandb login, then {self._sync()}")
            return False
        if not login.reachable(url):
            say(f"W&B: {url} can't be reached, going on offline; later: {self._sync()}")
            return False
        return True

    def _init(self, mode: str) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))  # else the login is announced
        if wandb.run is not None:  # left over from a run of this process that failed; Lightning would log into it
            with suppress(Exception):
                wandb.run.finish()
            wandb.run = None  # also where it could not be finished
        # wandb 0.31 has both, 0.19 has neither: there only our own waiting ends in time.
        wished: dict[str, Any] = {"finish_timeout": FINISH_SECONDS, "finish_timeout_raises": True}
        known = {name: value for name, value in wished.items() if name in wandb.Settings.model_fields}
        settings = wandb.Settings(silent=True, init_timeout=INIT_SECONDS, **known)
        self._wandb_init.update(mode=mode, settings=settings)
        # W&B uploads the command line as it is.
        given, sys.argv = sys.argv, redacted(sys.argv)
        try:
            return super().experiment
        finally:
            sys.argv = given


class _Guarded:
    """Stands for a W&B object, or for none: calls, and items set, reach it, but no error comes back.

    Args:
        start: gives the object, or None, when it is used first.
        broke: is told every error.
    """

    def __init__(self, start: Callable[[], Any], broke: Callable[[Exception], None]) -> None:
        self._start = start
        self._broke = broke

    @cached_property
    def _target(self) -> Any:
        return self._start()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # copying and pickling ask for such names
        try:
            value = None if self._target is None else getattr(self._target, name)
        except AttributeError:
            raise
        except Exception as error:
            self._broke(error)
            return None
        if name in ("config", "summary"):
            return _Guarded(lambda: value, self._broke)
        return self._guarded(value) if self._target is None or callable(value) else value

    def __getitem__(self, key: str) -> Any:
        return None if self._target is None else self._guarded(self._target.__getitem__)(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if self._target is not None:
            self._guarded(self._target.__setitem__)(key, value)

    def _guarded(self, function: Callable[..., Any] | None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return None if function is None else function(*args, **kwargs)
            except Exception as error:
                self._broke(error)
                return None

        return call


def _reason(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
