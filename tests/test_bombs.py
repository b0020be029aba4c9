"""Checkpoints that would fill the memory, or keep their reader for ever, are refused before they are built."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from semisup.classifier import Classifier, ModelOptions
from semisup.cli.front import main
from semisup.data.pools import DataSpec
from semisup.errors import InputError
from semisup.runs import checkpoint_file, pickle_check
from semisup.runtime.allocation import Bounded
from semisup.training.checkpoints import newest
from tests.helpers import Blobs, classifier, same, trainer, weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a checkpoint of a training of one epoch holds."""
    path = tmp_path_factory.mktemp("trained") / "x.ckpt"
    data, fitting = Blobs(), trainer(1)
    fitting.fit(classifier(data), data)
    fitting.save_checkpoint(path)
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


class Calls:
    """Pickled, it calls a function when it is unpickled, and changes what that gave where there is a state."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def nested() -> Any:
    value: Any = []
    for _ in range(40):
        value = [value, value]
    return value


def circle() -> Any:
    value: list[Any] = []
    value.append({"again": value})
    return value


def mapped() -> Any:
    value: Any = {}
    for _ in range(40):
        value = {"a": value, "b": value}
    return value


STORAGE = torch.zeros(1)._typed_storage()
CONTENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "lists of lists, each twice": (nested, "many times"),
    "mappings of mappings, each twice": (mapped, "many times"),
    "a list in itself": (circle, "in one another"),
    "one value, expanded": (lambda: torch.zeros(1).expand(10**6, 10**6), "claims more values than the file holds"),
    "a tensor many times": (lambda: [torch.zeros(1 << 18)] * 5000, "many times"),
    "views of one storage": (lambda: list(torch.zeros(1 << 18).expand(300, -1)), "many times"),
    "a tensor beyond its storage": (
        lambda: Calls(torch._utils._rebuild_tensor_v2, STORAGE, 0, (10**11,), (1,), False, {}),
        "",
    ),
    "bytes": (lambda: Calls(bytearray, 1 << 40), "would call __builtin__.bytearray"),
    "a tensor of a size": (lambda: Calls(torch.FloatTensor, 10**6, 10**6), "would call torch.FloatTensor"),
    "a storage of a size": (lambda: Calls(torch.UntypedStorage, 1 << 40), "would call torch.storage.UntypedStorage"),
    "a tensor without values": (lambda: torch.empty(10**6, 10**6, device="meta"), "would call torch._utils"),
    "a sparse tensor": (lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6)), "would call torch"),
    "a tensor that is changed": (
        lambda: Calls(torch._utils._rebuild_tensor_v2, STORAGE, 0, (1,), (1,), False, {}, state=()),
        "would change what it has built",
    ),
}
PICKLES = {
    "deep lists": (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "in one another"),
    "a deep key": (b"\x80\x02})" + b"\x85" * 10**6 + b"Ns.", "in one another"),  # to hash it overflows the stack
    "many values": (b"\x80\x02" + b"](" + b"]" * 30_000 + b"e.", "over 20,000 instructions"),
    "an empty one": (b"", ""),
    "nothing on the stack": (b"\x80\x02R.", ""),
}


def rewritten(path: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipFile], None]) -> Path:
    """The archive with other entries, in its place."""
    temporary = path.with_suffix(".temporary")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, "w") as new:
        change(old, new)
    temporary.replace(path)
    return path


def deflated(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    for entry in old.infolist():
        new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)


def overlapping(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    """Entries under other names that lie where the first large one lies."""
    for entry in old.infolist():
        new.writestr(entry.filename, old.read(entry))
    largest = max(new.filelist, key=lambda entry: entry.file_size)
    for number in range(100):
        another = copy.copy(largest)
        another.filename = another.orig_filename = f"x/data/{1000 + number}"
        new.filelist.append(another)


def another_case(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    """A second pickle, which torch's reader may take for the first one: it looks for names in any case."""
    for entry in old.infolist():
        new.writestr(entry.filename, old.read(entry))
    new.writestr(next(name for name in old.namelist() if name.endswith("/data.pkl")).upper(), b"\x80\x02N.")


def with_pickle(pickle: bytes) -> Callable[[zipfile.ZipFile, zipfile.ZipFile], None]:
    def change(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
        for entry in old.infolist():
            new.writestr(entry.filename, pickle if entry.filename.endswith("/data.pkl") else old.read(entry))

    return change


def legacy(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)


ARCHIVES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "compressed": (lambda path: rewritten(path, deflated), "is compressed"),
    "entries in one place": (lambda path: rewritten(path, overlapping), r"claim [\d,]+ bytes"),
    "the older format": (legacy, "not a zip file"),
    "two pickles, by the case of a letter": (
        lambda path: rewritten(path, another_case),
        "two files in it have one name",
    ),
    "something behind its end": (lambda path: zipfile.ZipFile(path, "a").__setattr__("comment", b"PK"), "behind"),
    **{
        what: (lambda path, pickle=pickle: rewritten(path, with_pickle(pickle)), said)  # type: ignore[misc]
        for what, (pickle, said) in PICKLES.items()
    },
}


@pytest.fixture(params=[*CONTENTS, *ARCHIVES])
def bomb(request: pytest.FixtureRequest, saved: dict[str, Any], tmp_path: Path) -> tuple[Path, str]:
    """A run's last checkpoint that should not be read, and what is said of it."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    value, said = CONTENTS.get(request.param, (None, ""))
    torch.save({**saved, "callbacks": value()} if value else saved, path)
    if not value:
        change, said = ARCHIVES[request.param]
        change(path)
    assert path.stat().st_size < 1 << 23
    return path, said


def test_a_bomb_is_refused_wherever_a_checkpoint_is_read(
    bomb: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_check, "MAX_INSTRUCTIONS", 20_000)
    path, said = bomb
    message = rf"last\.ckpt is not a checkpoint, or is cut short \(.*{said}"
    for read in (checkpoint_file.read, Classifier.from_checkpoint, lambda path: newest(path.parents[1])):
        with pytest.raises(InputError, match=message):
            read(path)


@pytest.mark.parametrize("verb", ["predict --ckpt_path", "test --ckpt_path", "validate --ckpt_path", "fit --resume"])
def test_every_verb_refuses_bombs(
    verb: str, saved: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({**saved, "callbacks": nested()}, tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "config.yaml").write_text("strategy: supervised\nseed: 0\ndata: {name: digits}\n")
    assert main([*verb.split(), str(tmp_path)]) == 2
    assert "many times" in capsys.readouterr().err


def test_figures_refuse_bombs(saved: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({**saved, "callbacks": nested()}, tmp_path / "checkpoints" / "last.ckpt")
    assert main(["figures", str(tmp_path), "--only", "filters"]) == 2
    assert "many times" in capsys.readouterr().out


# ---- the network that a checkpoint asks for


def asking(saved: dict[str, Any], path: Path, **changes: Any) -> Path:
    """A checkpoint whose words are changed and whose weights are not."""
    known = saved["semisup"]
    changed = {part: {**known[part], **changes.get(part, {})} for part in ("spec", "model")}
    torch.save({**saved, "semisup": {**known, **changed}}, path)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"backbone": "lenet-tanh"}, "spec": {"image_size": 90_000}},  # a linear layer of 16 TB
        {"model": {"backbone": "lenet-tanh"}, "spec": {"image_size": 900}},  # one of 1.6 GB
        {"model": {"backbone": "torchvision:vit_b_16"}},  # 340 MB
        {"model": {"backbone": "torchvision:regnet_y_128gf"}},  # 2.6 GB, and none that can be built without values
        {"spec": {"class_names": [f"{k}" for k in range(20_000)]}},  # matrices of classes of 3 GB
    ],
)
def test_a_network_that_is_larger_than_its_weights_is_not_built(
    changes: dict[str, Any], saved: dict[str, Any], tmp_path: Path
) -> None:
    modes = []

    class Noted(Bounded):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            modes.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semisup.saved_classifier.Bounded", Noted)
        with pytest.raises(InputError, match=r"x\.ckpt asks for a network that can't be built"):
            Classifier.from_checkpoint(asking(saved, tmp_path / "x.ckpt", **changes))
    assert max([mode.made for mode in modes], default=0) < 1 << 29


@pytest.mark.parametrize(
    "backbone",
    [
        *("small", "lenet-tanh", "torchvision:resnet18"),
        pytest.param("torchvision:regnet_y_400mf", marks=pytest.mark.slow),  # it is made four times
    ],
)
def test_what_a_network_takes_is_within_its_bounds(backbone: str, saved: dict[str, Any], tmp_path: Path) -> None:
    spec = DataSpec("many", tuple(map(str, range(300))), channels=3, image_size=40)
    module = Classifier(spec, model=ModelOptions(backbone=backbone))
    module.start_ema(0.9)
    known = {**saved["semisup"], "spec": {**asdict(spec), "class_names": [*spec.class_names]}, "ema_decay": 0.9}
    known = {**known, "model": {**known["model"], "backbone": backbone}, "data": None}
    torch.save({**saved, "semisup": known, "state_dict": module.state_dict()}, tmp_path / "x.ckpt")
    assert same(weights(Classifier.from_checkpoint(tmp_path / "x.ckpt")), weights(module))


def test_sizes_are_looked_at_before_anything_is_made() -> None:
    with Bounded(4_000_000) as bounded:
        first = torch.zeros(500_000)
        torch.empty(10**12, device="meta")
        first.add_(1)
        for make in (torch.zeros, torch.ones, torch.rand, torch.empty, first.new_zeros):
            with pytest.raises(InputError, match="over 4 MB"):
                make(10**14)
        with pytest.raises(InputError, match="over 4 MB"):
            torch.full((10**14,), 1.0)
        assert bounded.made == 2_000_000
        torch.zeros(250_000, dtype=torch.float64)
    with pytest.raises(InputError, match="over 0 MB"), Bounded(100):
        first.clone()
