"""`semisup label RUN`: the unlabeled pictures that teach most, on a page to label them on.

    semisup label runs/folder/fixmatch/20260101-120000-s0 --count 50
    semisup label RUN --count 50 --labels labels.csv          # with those that were made before

It writes `to-label.csv`, the list, and `to-label.html` beside it, whose button saves the file that `--data.labels_csv`
takes: the labels that the run was trained with, those of `--labels`, and the new ones.
"""

from __future__ import annotations

import csv
import io
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from semisup.cli import add_output
from semisup.errors import require
from semisup.escape import csv_cell, nearby, shell
from semisup.plugins.source import describe
from semisup.runs.directory import run_of, write_atomically
from semisup.runs.paths import local, output_file
from semisup.runs.run import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from semisup.classifier import Classifier
    from semisup.data.datamodule import DataModule
    from semisup.data.pool import Pool
    from semisup.labeling.page import Chosen

_HEAD = ["path", "guess", "confidence"]
_PAGE, _OURS = ".html", b'<meta name="generator" content="semisup label">'  # what such a page begins with
_SIDE = 384  # pixels of a picture on the page
_NOT_TAKEN = "--data.labels_csv does not take the pictures of {name}; the page saves them by {what}"


def add_options(parser: ArgumentParser) -> None:
    """The verb's options."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run directory, or a checkpoint in one")
    add("--count", type=int, default=50, metavar="N", help="pictures to label (default: %(default)s)")
    add_output(parser, "FILE", "where to write the list; the page is beside it (default: to-label.csv)")
    add("--labels", metavar="FILE", type=local, help="labels made since the run, as the page saves them (path,class)")
    add("--data.root", dest="root", type=local, metavar="DIR", help="where the data is, if it has moved")
    add("--device", help="such as cpu or cuda:1 (default: a GPU where there is one)")


def run(request: Namespace) -> None:
    """Chooses, and writes the list and the page.

    Raises:
        InputError: an option is wrong, the run or its data is not there, or nothing is left to be labeled.
    """
    require(request.count >= 1, f"--count is {request.count}, but must be at least 1")
    head = ",".join(_HEAD).encode()
    out = output_file(request.out or "to-label.csv", request.force, lambda there: there.startswith(head))
    require(out.suffix != _PAGE, f"the page will be {out} itself, and --out names the list; type a name ending in .csv")
    page_out = output_file(out.with_suffix(_PAGE), request.force, lambda there: _OURS in there)
    path = local(request.run)
    require(run_of(path) is not None, f"{path} is in no run directory, whose config.yaml says which data it is of")

    from semisup.cli.figures import open_data
    from semisup.data.labels_csv import read_labels
    from semisup.labeling import page
    from semisup.model import load
    from semisup.runtime.console import say

    made = read_labels(request.labels) if request.labels else {}
    classifier, data = load(path, request.device).classifier, open_data(path, request.root)
    require(data.spec == classifier.spec, f"the run was trained on {classifier.spec}, and the data is {data.spec} now")
    pictures = _chosen(classifier, data, made, request.count, request.labels)
    names = [*dict.fromkeys([*data.spec.class_names, *made.values()])]
    directory = nearby(run_of(path) or path)
    command = f"semisup fit --config {shell(directory / CONFIG_FILE)} --data.labels_csv labels.csv"
    command += f" --model.weights {shell(directory)}"
    files = data.file(pictures[0].path) is not None
    what = "their paths" if files else "their numbers, since they are no files"
    not_taken = "" if files and _takes_labels(data) else _NOT_TAKEN.format(name=data.spec.name, what=what)
    page.write(page_out, pictures, names, _labels(data) | made, not_taken or command)
    write_atomically(out, _csv(pictures, names))
    say(f"{len(pictures):,} of {len(data.pools.without_label or []):,} unlabeled pictures: {out}")
    say(f"open this page to label them: {page_out}")
    say(not_taken or f"then train on what it saves: {command}")


def _takes_labels(data: DataModule) -> bool:
    """Whether the datamodule has the option that takes what the page saves."""
    kind = type(data)
    return any(option.name == "labels_csv" for option in describe(f"{kind.__module__}:{kind.__qualname__}").options)


def _chosen(
    classifier: Classifier, data: DataModule, made: dict[str, str], count: int, file: Path | None
) -> list[Chosen]:
    """The pictures to label, without those that have a label by now.

    Raises:
        InputError: there is none, or a label is of a picture that isn't there.
    """
    import numpy as np
    import torch

    from semisup.data.files import named
    from semisup.labeling.choose import choose, seen
    from semisup.labeling.page import Chosen

    pools = data.pools
    pool, size = pools.without_label, data.eval_batch_size
    names = [pool.name(row) for row in range(len(pool))] if pool else []
    others = [one.name(row) for one in (pools.labeled, pools.val, pools.test) if one for row in range(len(one))]
    unknown = sorted(made.keys() - {*names, *others})
    require(not unknown, f"{file} names pictures that {data.spec.name} doesn't have here: {named(unknown)}")
    has = np.array([name in made for name in names], dtype=bool)
    require(
        pool is not None and not has.all(),
        f"{data.spec.name} has no unlabeled pictures here that would still have to be labeled",
    )
    assert pool is not None
    left = pool.at(np.flatnonzero(~has))
    known = [seen(classifier, one, size)[0] for one in (pools.labeled, pool.at(np.flatnonzero(has))) if len(one)]
    features, probabilities = seen(classifier, left, size)
    rows = choose(features, probabilities, torch.cat(known), count)
    shown = _shown(data, left, rows)
    confidence, guess = probabilities[rows].max(1)
    said = zip(rows.tolist(), shown, guess.tolist(), confidence.tolist(), strict=True)
    return [Chosen(left.name(row), pixels, label, sure) for row, pixels, label, sure in said]


def _shown(data: DataModule, pool: Pool, rows: Tensor) -> list[np.ndarray]:
    """Pictures (H, W, C) uint8 as they are seen, in more pixels than the network is given where they are files."""
    from semisup.data.picture import reading
    from semisup.data.preprocessing import Preprocessing

    small, its = pool.gather(rows).permute(0, 2, 3, 1).cpu().numpy(), data.preprocessing
    larger = Preprocessing(replace(its.how, size=max(its.how.size, _SIDE)), its.ranges)
    shown = []
    with reading(larger.how):
        for row, pixels in zip(rows.tolist(), small, strict=True):
            file = data.file(pool.name(row))
            larger_pixels = larger.image(file).pixels if file else None
            shown.append(pixels if larger_pixels is None else larger_pixels)
    return shown


def _labels(data: DataModule) -> dict[str, str]:
    """Path -> class of what the run was trained with, and of what was held out of the same folders to validate on."""
    labeled, val = data.pools.labeled, data.pools.val
    tops = {labeled.name(row).partition("/")[0] for row in range(len(labeled))}
    pairs = [(one, row) for one in (labeled, val) if one for row in range(len(one))]
    names = data.spec.class_names
    return {
        one.name(row): names[int(one.labels[row])]
        for one, row in pairs
        if one is labeled or one.name(row).partition("/")[0] in tops
    }


def _csv(pictures: Sequence[Chosen], class_names: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEAD)
    for one in pictures:
        writer.writerow([csv_cell(one.path), csv_cell(class_names[one.guess]), f"{one.confidence:.6f}"])
    return text.getvalue()
