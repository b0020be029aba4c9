"""Runs that a stranger made: classes in the options, bombs for checkpoints, and files that are none."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import yaml

from .outcome import Outcome
from .runs import Ended, command, finished

READ = (
    "predict --ckpt_path",
    "test --ckpt_path",
    "validate --ckpt_path",
    "figures --only filters",
    "report",
    "compare",
)


def refused(folder: Path, run: Path, verbs: Iterable[str], words: str, code: int = 2) -> Outcome:
    """The outcome of verbs that must all end with an exit code and say the words, and leave no mark of an import."""
    met, said = {}, ""
    for verb in verbs:
        ended = command(folder, *verb.split(), str(run))
        here = ended.told(code, *([words] if words else []))
        met |= {f"{verb}: {expectation}": right for expectation, right in here.items()}
        said = ended.line(words) if words and not said else said
    met["nothing was imported"] = not (folder / "imported").exists()
    return Outcome(
        f"exit code {code} of {', '.join(verb.split()[0] for verb in verbs)}: {said}", "the run as it was", met
    )


def _with_options(folder: Path, whole: Path, **options: Any) -> Path:
    """A finished run with other options in its config.yaml, and a module that leaves a mark when it is imported."""
    (folder / "evil.py").write_text("open('imported', 'w').close()\nclass E:\n    pass\n")
    run = finished(folder, whole)
    set_options(run, **options)
    return run


def set_options(run: Path, **options: Any) -> None:
    """Puts other options into a run's config.yaml, `group__name` for `group.name`."""
    tree = yaml.safe_load((run / "config.yaml").read_text())
    for option, value in options.items():
        group, _, name = option.partition("__")
        tree[group][name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(tree))


def class_for_a_number(folder: Path, whole: Path) -> Outcome:
    """A run's config.yaml has a class for its learning rate, in a module that leaves a mark when it is imported."""
    run = _with_options(folder, whole, optimizer__lr={"class_path": "evil.E"})
    return refused(folder, run, [*READ[:3], "fit --resume"], "optimizer.lr: expected float")


def callback_of_a_stranger(folder: Path, whole: Path) -> Outcome:
    """The config.yaml of a run that is resumed has a callback, in such a module."""
    run = _with_options(folder, whole, trainer__callbacks=[{"class_path": "evil.E"}])
    return refused(folder, run, ["fit --resume"], "asks to import evil.E; type --trust")


def callback_of_a_stranger_read(folder: Path, whole: Path) -> Outcome:
    """The same run is scored and drawn, which takes nothing from its trainer."""
    run = _with_options(folder, whole, trainer__callbacks=[{"class_path": "evil.E"}])
    return refused(folder, run, ["predict --out x.csv --ckpt_path", *READ[1:4]], "", 0)


# ---- checkpoints


def _bombed(folder: Path, whole: Path, words: str, change: Callable[[Path], None]) -> Outcome:
    run = finished(folder, whole)
    for path in (run / "checkpoints").iterdir():
        change(path)
    return refused(folder, run, [*READ[:3], "fit --resume"], words)


def nested_checkpoint(folder: Path, whole: Path) -> Outcome:
    """A run's checkpoints hold a list of two lists of two lists, forty times."""

    def change(path: Path) -> None:
        value: Any = []
        for _ in range(40):
            value = [value, value]
        torch.save({**torch.load(path, weights_only=True), "more": value}, path)

    return _bombed(folder, whole, "far more than were written", change)


def expanded_checkpoint(folder: Path, whole: Path) -> Outcome:
    """A run's checkpoints hold one value that claims to be a matrix of 4 TB."""

    def change(path: Path) -> None:
        value = torch.zeros(1).expand(10**6, 10**6)
        torch.save({**torch.load(path, weights_only=True), "more": value}, path)

    return _bombed(folder, whole, "claims more values than the file holds", change)


def self_referring_checkpoint(folder: Path, whole: Path) -> Outcome:
    """A run's checkpoints hold a list that holds itself."""

    def change(path: Path) -> None:
        value: list[Any] = []
        value.append(value)
        torch.save({**torch.load(path, weights_only=True), "more": value}, path)

    return _bombed(folder, whole, "far more than were written", change)


def deflated_checkpoint(folder: Path, whole: Path) -> Outcome:
    """A run's checkpoints hold 4 GB of zeros, compressed to 4 MB."""

    def change(path: Path) -> None:
        with zipfile.ZipFile(path) as old:
            entries = {entry.filename: old.read(entry) for entry in old.infolist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for name, content in entries.items():
                new.writestr(name, content)
            with new.open("x/data/zeros", "w", force_zip64=True) as zeros:
                for _ in range(256):
                    zeros.write(bytes(1 << 24))

    return _bombed(folder, whole, "is compressed", change)


def large_network(folder: Path, whole: Path) -> Outcome:
    """A run's checkpoints ask for a network of 16 TB, by the size of the images."""

    def change(path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        saved["semisup"]["model"]["backbone"] = "lenet-tanh"
        saved["semisup"]["spec"]["image_size"] = 90_000
        torch.save(saved, path)

    run = finished(folder, whole)
    for path in (run / "checkpoints").iterdir():
        change(path)
    return refused(folder, run, READ[:3], "asks for a network that can't be built: it would take over")


# ---- files that are none


def _instead(folder: Path, whole: Path, words: str, make: Callable[[Path], object]) -> Outcome:
    """Every file of a run gives way, one after the other, to something else, and those who read it are asked."""
    readers = {
        **{"config.yaml": "predict --ckpt_path", "metrics.csv": "report", "environment.txt": "report"},
        **{"predictions.csv": "compare", "confusion.csv": "compare", "checkpoints/best.ckpt": "test --ckpt_path"},
    }
    met: dict[str, bool] = {}
    ended = Ended(0, "", 0)
    for number, (name, verb) in enumerate(readers.items()):
        place = folder / str(number)
        place.mkdir()
        run = finished(place, whole)
        (run / name).unlink()
        make(run / name)
        ended = command(place, *verb.split(), str(run))
        met |= {f"{name}: {expectation}": right for expectation, right in ended.told(2, words).items()}
    return Outcome(f"exit code 2 for {', '.join(readers)}: {ended.line(words)}", "the run as it was", met)


def pipes_for_files(folder: Path, whole: Path) -> Outcome:
    """Each file of a run gives way to a pipe that nobody writes to."""
    return _instead(folder, whole, "is not a regular file but a pipe", os.mkfifo)


def endless_files(folder: Path, whole: Path) -> Outcome:
    """Each file of a run gives way to a link to /dev/zero."""
    return _instead(folder, whole, "is not a regular file but a device", lambda path: path.symlink_to("/dev/zero"))


def links_out_of_the_run(folder: Path, whole: Path) -> Outcome:
    """Each file of a run gives way to a link to /etc/passwd."""
    return _instead(folder, whole, "is a link that leads out of its run", lambda path: path.symlink_to("/etc/passwd"))


def folders_for_files(folder: Path, whole: Path) -> Outcome:
    """Each file of a run gives way to a folder."""
    return _instead(folder, whole, "is not a regular file but a folder", Path.mkdir)


FAULTS = [
    *(class_for_a_number, callback_of_a_stranger, callback_of_a_stranger_read),
    *(nested_checkpoint, expanded_checkpoint, self_referring_checkpoint, deflated_checkpoint, large_network),
    *(pipes_for_files, endless_files, links_out_of_the_run, folders_for_files),
]
