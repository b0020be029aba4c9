"""The one kind of error that a user's mistake raises, and the words that help to repair it."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["InputError", "check", "check_per_class", "did_you_mean", "require"]


class InputError(ArgumentTypeError, ValueError):
    """Something the user gave is wrong: a file, an option, a name.

    The message says what was found, what was expected and what to type. The command line prints it as one line and
    exits with code 2, without a traceback. (It is also an `ArgumentTypeError`, because the parser reports only those
    as errors of the option they belong to.)
    """


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'pseudolabel'?"` where a valid name is close to `name`, else the list of the valid names."""
    names = sorted(valid)
    elsewhere = _ELSEWHERE.get(name)
    close = [elsewhere] if elsewhere in names else get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(names)}"


def require(condition: bool, message: str) -> None:
    """Raises `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)


ABOVE_ZERO = math.nextafter(0, 1)  # the lower bound of a length, which must be more than 0
BELOW_ONE = math.nextafter(1, 0)  # the upper bound of a decay, which must be less than 1


def check(group: str, **values: tuple[float, float, float]) -> None:
    """Requires options of a group to lie in their ranges: `check("fixmatch", ratio=(ratio, 1, 1000))`.

    Args:
        group: the strategy's name.
        values: option -> its value, the least that it may be and the most, `math.inf` for no bound.

    Raises:
        InputError: one does not; the message names it.
    """
    for name, (value, least, most) in values.items():
        if most == BELOW_ONE:
            expected = f"at least {least} and less than 1"
        elif (least, most) == (0, 1):
            expected = "from 0 to 1"
        elif value > most:
            expected = f"at most {most:,}"
        else:
            expected = "more than 0" if least == ABOVE_ZERO else f"at least {least}"
        require(least <= value <= most, f"{group}.{name} is {value}, but must be {expected}")


def check_per_class(option: str, values: list[float], classes: int, instead: str = "") -> None:
    """Requires an option that holds a number for every class to do so, from 0 on, with one above it.

    Args:
        option: its name, such as `darp.shares`.
        values: what it was given.
        classes: number of classes.
        instead: what else it may be, with a comma behind it.

    Raises:
        InputError: it does not.
    """
    require(
        len(values) == classes and all(0 <= x < math.inf for x in values) and sum(values) > 0,
        f"{option} is {values}, but must be {instead}a number from 0 on for each of {classes} classes",
    )


# What options and verbs are called elsewhere -> here.
_ELSEWHERE = {
    **{"epochs": "trainer.max_epochs", "max_epochs": "trainer.max_epochs", "num_epochs": "trainer.max_epochs"},
    **{"steps": "trainer.max_steps", "max_steps": "trainer.max_steps", "iterations": "trainer.max_steps"},
    **{"labels": "data.labels_per_class", "num_labels": "data.labels_per_class", "root": "data.root"},
    **{"dataset": "data", "data_dir": "data.root", "bs": "data.batch_size", "image_size": "data.image_size"},
    **{"gpus": "trainer.devices", "device": "trainer.accelerator", "amp": "trainer.precision"},
    **{"net": "model.backbone", "network": "model.backbone", "arch": "model.backbone", "weights": "model.weights"},
    **{"lr": "optimizer.lr", "learning_rate": "optimizer.lr", "wd": "optimizer.weight_decay"},
    **{"out": "trainer.default_root_dir", "output_dir": "trainer.default_root_dir"},
    **{"train": "fit", "eval": "test", "evaluate": "test", "infer": "predict", "plot": "figures"},
}


def unknown_option(key: str, valid: Iterable[str], dashes: str = "") -> str:
    """The message for an option that there isn't, with the nearest one that there is, or all of its group.

    Args:
        key: the option as given, such as `pseudolabel.topk`.
        valid: every option there is, such as `pseudolabel.top_k`.
        dashes: what options are written with where this one stands: `--` on the command line.
    """
    options = sorted(valid, key=lambda option: (-option.count("."), option))  # in `by_name`, the shortest wins
    if (meant := _ELSEWHERE.get(key)) in options:
        return f"there is no option {dashes}{key}; did you mean {dashes}{meant}?"
    group, _, name = key.partition(".")
    siblings = [option for option in options if option.startswith(f"{group}.")]
    if siblings and not name:
        return f"{dashes}{key} is a group of options; there are: {', '.join(dashes + option for option in siblings)}"
    # Compared without their group, which would make every two options of a group look alike.
    by_name = {
        option.removeprefix(f"{group}.") if siblings else option.rpartition(".")[2]: option for option in options
    }
    by_name = {short: option for short, option in by_name.items() if not siblings or option in siblings}
    close = get_close_matches(name if siblings else key.rpartition(".")[2], by_name, n=1, cutoff=0.6)
    if close:
        return f"there is no option {dashes}{key}; did you mean {dashes}{by_name[close[0]]}?"
    if siblings:
        return f"there is no option {dashes}{key}; there are: {', '.join(dashes + option for option in siblings)}"
    return f"there is no option {dashes}{key}; `semisup fit --help` lists them"


def wrong_value(report: str) -> tuple[str, str]:
    """The option that jsonargparse reports a wrong value of ("" where it names none), and the report on one line."""
    match = re.match(r'(?:Parser key "([^"]+)":|argument --([\w.]+):)\s*(.*)', report, flags=re.DOTALL)
    if not match:
        return "", " ".join(report.split())
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", match[3]).replace("NoneType", "None")
    text = re.sub(r"Literal\[(.*?)\]", r"one of \1", text)
    union = re.search(r"Subtypes: [\[(](.*?),?[\])]\n", text)
    value = re.search(r"(?:Got value|Given value): (.*)", text)
    if problem := re.search(r"(\n *- |)Problem with given class_path '([^']+)':\s*(.*)", text, flags=re.DOTALL):
        report = re.split(rf"\n  Given value|{problem[1] or '$'}", problem[3])[0]  # of the first of several problems
        option, said = wrong_value(report)
        needed = re.match(r"the following arguments are required: ((\w+).*)", said)
        said = f"it needs {needed[1]}; type --{match[1] or match[2]}.{needed[2]} VALUE" if needed else said
        text = f"{problem[2]}: {f'{option}: ' if option else ''}{said}"
    elif union and value:
        kinds = re.split(r", (?![^\[]*\])(?!')", union[1])
        text = f"expected {' or '.join(kind for kind in kinds if kind != 'Tensor')}, got {value[1]!r}"
    elif expected := re.match(r"Expected an? (.*)\. Got value: (.*)", text):
        text = f"expected {expected[1]}, got {expected[2]!r}"
    return match[1] or match[2], " ".join(text.split())
