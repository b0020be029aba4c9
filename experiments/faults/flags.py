"""Faults of flags: precisions, optimisers and Lightning's own that a run may not go on under, or can't have."""

from __future__ import annotations

from pathlib import Path

from .outcome import Outcome
from .runs import Ended, command, fit, run_under, same_end, step_of, stopped

_CALLBACK = "--trainer.callbacks=pytorch_lightning.callbacks."


def _refused(folder: Path, words: str, *options: str) -> Outcome:
    """A training that can't be had, which must be one line and leave nothing."""
    ended = fit(folder / "runs", *options)
    met = ended.told(2, words) | {"no run is left": not any(folder.glob("runs/*/*/*"))}
    return Outcome(f"exit code {ended.code}: {ended.line(words)}", "nothing", met)


def _goes_on(folder: Path, *options: str, words: str = "") -> Outcome:
    """A training that is stopped in step 4, and must go on as if it had not been."""
    undisturbed, first = fit(folder / "one", *options), stopped(folder / "two", *options)
    saved = step_of(folder / "two")
    ended = command(folder, "fit", "--resume", str(run_under(folder / "two")), "--trust")
    met = ended.told(0) | {"undisturbed": undisturbed.code == 0, f"says {words!r}": words in first.said}
    met |= {"saved": saved == 5, "same end": same_end(folder / "two", folder / "one")}
    said = f": {first.line(words)}" if words else ""
    return Outcome(f"exit code {ended.code}{said}", "ends as if nothing had happened" if met["same end"] else "", met)


# ---- precision and optimisers


def float64(folder: Path, whole: Path) -> Outcome:
    """A run in 64-true is stopped in step 4 and resumed, and predicts."""
    outcome = _goes_on(folder, "--trainer.precision", "64-true")
    run = run_under(folder / "two")
    ended = command(folder, "predict", "--ckpt_path", str(run), "--on", "test", "--out", str(folder / "x.csv"))
    theirs = (run / "predictions.csv").read_bytes()
    outcome.met |= {"predicts": ended.code == 0, "the same": (folder / "x.csv").read_bytes() == theirs}
    return outcome


def optimizer_with_a_closure(folder: Path, whole: Path) -> Outcome:
    """LBFGS, which computes a step's loss several times, is stopped in step 4 and resumed."""
    return _goes_on(folder, "--optimizer", "lbfgs", "--optimizer.max_iter", "3")


def optimizer_of_sparse_gradients(folder: Path, whole: Path) -> Outcome:
    """SparseAdam is asked for."""
    return _refused(folder, "does not support dense gradients", "--optimizer", "sparseadam")


def optimizer_that_is_capturable(folder: Path, whole: Path) -> Outcome:
    """Adam is to be captured by CUDA on a CPU."""
    return _refused(folder, "capturable=True", "--optimizer", "adam", "--optimizer.capturable", "true")


def option_without_yaml(folder: Path, whole: Path) -> Outcome:
    """Lightning's weight averaging has a device among its options, which YAML has no word for; it is resumed."""
    averaging = [f"{_CALLBACK}StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=.01"]
    outcome = _goes_on(folder, *averaging, words="left out, because it can't be written as YAML")
    outcome.met["none in its place"] = "Unable" not in (run_under(folder / "two") / "config.yaml").read_text()
    return outcome


# ---- Lightning's flags


def validation_after_the_end(folder: Path, whole: Path) -> Outcome:
    """--trainer.val_check_interval 100, in epochs of three steps."""
    return _refused(folder, "val_check_interval", "--trainer.val_check_interval", "100")


def profiler(folder: Path, whole: Path) -> Outcome:
    """--trainer.profiler pytorch."""
    ended: Ended = fit(folder / "runs", "--trainer.profiler", "pytorch")
    met = ended.told(0) | {"same end": same_end(folder / "runs", whole)}
    return Outcome(f"exit code {ended.code}", "the weights of a run without it", met)


def learning_rate_finder(folder: Path, whole: Path) -> Outcome:
    """LearningRateFinder is to find the learning rate that config.yaml has."""
    return _refused(folder, "type --optimizer.lr X", f"{_CALLBACK}LearningRateFinder")


def two_averages(folder: Path, whole: Path) -> Outcome:
    """EMAWeightAveraging beside FixMatch's own average."""
    return _refused(folder, "averages the weights", "--strategy=fixmatch", f"{_CALLBACK}EMAWeightAveraging")


FAULTS = [
    *(float64, optimizer_with_a_closure, optimizer_of_sparse_gradients, optimizer_that_is_capturable),
    *(option_without_yaml, validation_after_the_end, profiler, learning_rate_finder, two_averages),
]
