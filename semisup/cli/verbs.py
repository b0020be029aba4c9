"""The verbs of the command line: one table, standard library only. What a verb does is imported when it is typed."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from semisup.errors import InputError
from semisup.plugins.source import Option


@dataclass(frozen=True)
class Verb:
    """What can be typed first.

    Attributes:
        help: what it does, on a line of `semisup --help`.
        options: its own options beside those of a `Config`, which its function is given. A type in small letters lists
            the choices, one in capitals stands for any text, and a switch has none. None of a verb whose module makes a
            parser of its own (`add_options`), and whose function is given what that has parsed.
        examples: of what to type.
        module: of `semisup.cli`, whose function `run` does it; that of the verb's name where empty.
        of_files: of `semisup.cli`, a module with a parser of its own that does it where files are named behind the RUN.
        passes_on: what its own parser does not know are options of `semisup fit`, and `run` is given them as well.
        prints: its result is what it prints, and not what it writes.
    """

    help: str
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()
    module: str = ""
    of_files: str = ""
    passes_on: bool = False
    prints: bool = True

    @property
    def sentence(self) -> str:
        """What it does, as its own `--help` begins."""
        return f"{self.help[0].upper()}{self.help[1:]}."


class Parser(ArgumentParser):
    """Reports a mistake as every other one is reported.

    Attributes:
        given: what it is to parse.
    """

    given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raises what the command line prints on one line."""
        raise InputError(f"{message}; `{self.prog} --help` tells more")


_CHECKPOINT = Option(
    "ckpt_path",
    "RUN|FILE",
    "(required)",
    "a run directory or a checkpoint, which can be typed first and without --ckpt_path; its config.yaml is read",
)
VERBS = {
    "fit": Verb(
        "train a classifier",
        (
            Option(
                "resume",
                "RUN|auto",
                "None",
                "the run to go on with, in its directory and with its options; auto: the newest one with the options "
                "that are typed, and a new one where there is none",
            ),
            Option(
                "resume_data",
                "same|remap",
                "same",
                "of a resumed run: refuse other data than it began with, or go on with what is there; what is known of "
                "single images, such as pseudo-labels, follows them by what they show and by their names",
            ),
            Option("yes", "", "", "train also where that needs more memory than there is"),
        ),
        (
            "semisup fit",
            "semisup fit --strategy pseudolabel --pseudolabel.threshold 0.9 --trainer.max_epochs 50",
            "semisup fit --data stl10 --model torchvision:resnet18 --optimizer adamw --optimizer.lr 0.001 --seed 1",
            "semisup fit --config mine.yaml --resume runs/digits/supervised/20250101-120000-s0",
        ),
        prints=False,
    ),
    "validate": Verb(
        "score a run on the validation images",
        (_CHECKPOINT,),
        ("semisup validate RUN",),
        "evaluate",
    ),
    "test": Verb(
        "score a run on the test images",
        (_CHECKPOINT,),
        ("semisup test RUN", "semisup test RUN/checkpoints/last.ckpt --data.root elsewhere"),
        "evaluate",
    ),
    "predict": Verb(
        "write a run's predictions to a file, of its data or of the pictures that are named",
        (
            _CHECKPOINT,
            Option("out", "FILE", "predictions.csv", "where to write"),
            Option("format", "csv|kaggle", "csv", "of the file"),
            Option("on", "test|val|unlabeled", "test", "the images to predict"),
            Option("force", "", "", "write over a file that isn't one of predictions as well"),
        ),
        (
            "semisup predict RUN --out submission.csv --format kaggle",
            "semisup predict RUN new-pictures/ --least_sure_first    # `semisup predict RUN PICTURE --help` tells more",
        ),
        of_files="predict_pictures",
    ),
    "export": Verb("write a trained network as ONNX, TorchScript or safetensors, for other programs"),
    "figures": Verb("draw the pictures of one or more runs"),
    "report": Verb("write the report of one or more runs, as LaTeX, HTML and Markdown"),
    "compare": Verb(
        "train strategies over seeds and numbers of labels, or compare runs that are there",
        passes_on=True,
        prints=False,
    ),
    "dashboard": Verb("build a W&B workspace and a report of what runs logged"),
    "sweep": Verb("vary the options of a strategy: a W&B sweep, or a plain list of commands", passes_on=True),
    "kmeans-features": Verb("score k-means features with a linear SVM, without a network", passes_on=True),
    "label": Verb("choose the unlabeled pictures that teach most, and write a page to label them on"),
    "list": Verb("list the strategies, datamodules and backbones that are installed", module="listing"),
    "new": Verb("write a package with a strategy, dataset or backbone of your own, to begin from"),
    "data": Verb("download a dataset, or remove old caches"),
}
