"""Features that are computed once: against the network on the same views, shared by runs, and served in every step."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import methods
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers import Blobs, SaveAt, classifier, same, trainer, weights
from torch import Tensor

from semisup import plugins
from semisup.augment.views import find_view
from semisup.classifier import Classifier, ModelOptions
from semisup.composition import Composition
from semisup.data.pool import Pool
from semisup.errors import InputError
from semisup.features.cached import CachedFeatures
from semisup.randomness import Draw
from semisup.strategy import LossStrategy
from semisup.training.forecast import Forecast
from strategies.comatch import CoMatch
from strategies.fixmatch import FixMatch
from strategies.pseudolabel import PseudoLabel

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semisup" / "features"


class Pixels:
    """The four corners of an image as its features; counts the images that it is given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.count += len(images)
        return images[:, 0, :: images.shape[-1] - 1, :: images.shape[-1] - 1].flatten(1)


def cached(compute: Any, name: str = "corners", draws: int = 3) -> CachedFeatures:
    return CachedFeatures(compute, name, 4, draws, 7, CPU)


def images(count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), np.uint8)


def test_features_are_those_of_the_view_rounded_to_bfloat16() -> None:
    pixels, compute = images(), Pixels()
    pool, features = Pool(pixels, rows=np.array([3, 11, 4, 19, 0])), cached(compute)
    features.prepare(pool, "weak")
    assert compute.count == 3 * 5
    index, step = torch.tensor([4, 1, 1]), Draw(5, 2, "x", torch.arange(3), 3)
    found, chosen = features.gather(pool, index, "weak", step), step.integers("draw", 3)[:, 0]
    for row, which, value in zip(pool.rows[index], chosen.tolist(), found, strict=True):
        draw = Draw(0, which, "features/weak", torch.tensor([row]), 20)
        seen = find_view("weak")(torch.from_numpy(pixels[[row]]), draw)
        assert torch.equal(value, Pixels()(seen)[0].bfloat16().float())
    seen_draws = {
        int(which) for n in range(20) for which in Draw(5, n, "x", torch.arange(3), 3).integers("draw", 3).flatten()
    }
    assert seen_draws == {0, 1, 2}


def test_a_plain_view_has_one_draw() -> None:
    pool, compute = Pool(images()), Pixels()
    features = cached(compute)
    features.prepare(pool, "none")
    assert compute.count == 20
    found = features.gather(pool, torch.tensor([2]), "none", Draw(0, 9, "x", torch.arange(1), 1))
    assert torch.equal(found, Pixels()(torch.from_numpy(images()[[2]]).float() / 255).bfloat16().float())


def test_what_is_there_is_not_computed_again(folder: Path) -> None:
    first, second, other = Pixels(), Pixels(), Pixels()
    pixels = images()
    cached(first).prepare(Pool(pixels, rows=np.arange(5)), "weak")
    grown, same_content = Pool(pixels.copy(), rows=np.arange(8)), cached(second)
    same_content.prepare(grown, "weak")  # equal images elsewhere in memory, three of them new
    assert (first.count, second.count) == (15, 9)
    same_content.prepare(grown, "weak")
    assert second.count == 9 and len(list(folder.glob("*.features"))) == 1
    one, two = cached(first), cached(other, "another network")
    one.prepare(grown, "weak")
    two.prepare(grown, "weak")
    assert (first.count, other.count) == (15, 24) and len(list(folder.glob("*.features"))) == 2
    index, draw = torch.arange(8), Draw(1, 1, "x", torch.arange(8), 8)
    assert torch.equal(one.gather(grown, index, "weak", draw), same_content.gather(grown, index, "weak", draw))


def test_a_pass_that_was_interrupted_goes_on() -> None:
    class Stops(Pixels):
        def __call__(self, images: Tensor) -> Tensor:
            if self.count >= 14:
                raise KeyboardInterrupt
            return super().__call__(images)

    pool, rest, whole = Pool(images()), Pixels(), Pixels()
    with pytest.raises(KeyboardInterrupt):
        cached(Stops(), draws=1).prepare(pool, "weak")
    features = cached(rest, draws=1)
    features.prepare(pool, "weak")
    assert rest.count == 20 - 14
    fresh = cached(whole, "the same again", draws=1)
    fresh.prepare(pool, "weak")
    assert torch.equal(features.gather(pool, torch.arange(20), "weak"), fresh.gather(pool, torch.arange(20), "weak"))


def test_a_pool_of_several_arrays_is_gathered_in_its_order() -> None:
    one, other = images(6), 255 - images(4)
    pool = Pool(one, rows=np.array([5, 0])).followed_by(Pool(other, rows=np.array([3, 1])))
    features = cached(Pixels())
    features.prepare(pool, "none")
    expected = Pixels()(torch.from_numpy(np.concatenate([one[[5, 0]], other[[3, 1]]])).float() / 255)
    index = torch.tensor([3, 0, 2, 1])
    assert torch.equal(features.gather(pool, index, "none"), expected[index].bfloat16().float())


def test_a_full_disk_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 100)
    with pytest.raises(InputError, match=r"3 draws of the view weak of 20 images take .* --model.draws"):
        cached(Pixels()).prepare(Pool(images()), "weak")


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Lets so many bytes of the disk be free."""
    usage = shutil.disk_usage("/")._replace(free=count)
    monkeypatch.setattr("semisup.features.cached.shutil.disk_usage", lambda _: usage)


@pytest.mark.parametrize(("room", "fits"), [(10**9, 5), (2 * 5 * 400, 5), (2 * 5 * 400 - 1, 4), (1700, 2), (1, 1)])
def test_as_many_draws_are_kept_as_fit_into_half_of_the_disk(
    room: int, fits: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A draw of two views of 20 images of 5 numbers takes 2 * 20 * 5 * 2 = 400 bytes; the plain view is kept once."""
    pool, features = Pool(images()), CachedFeatures(Pixels(), "corners", 5, 5, 8, CPU)
    free(monkeypatch, room)
    features.limit([(pool, "weak"), (pool.at(np.arange(3)), "weak"), (pool, "strong"), (pool, "none")])
    assert features.count == features.draws("weak") == fits and features.draws("none") == 1
    said = capsys.readouterr().out
    start = f"features: {fits} draw{'s' if fits > 1 else ''} of every view, as many as fit: the 5 of --model.draws take"
    assert said.startswith(start) if fits < 5 else not said


def test_draws_that_are_there_take_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(images())
    cached(Pixels()).prepare(pool, "weak")
    free(monkeypatch, 1)
    features, more = cached(Pixels()), cached(Pixels(), draws=4)
    features.limit([(pool, "weak")])
    more.limit([(pool, "weak")])
    assert (features.count, more.count) == (3, 3)


def test_a_run_goes_on_with_the_draws_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, options = tmp_path / "4.ckpt", ModelOptions("small", adapt="head", draws=9)
    width = Classifier(Blobs().spec, None, options).network.head.in_features
    with monkeypatch.context() as patch:
        free(patch, 2 * 2 * 3 * 162 * width)  # Blobs' array, of which the strong view alone is drawn
        module, data, _ = fit(FixMatch(ratio=1), options, enable_checkpointing=True, callbacks=[SaveAt(4, path)])
    assert isinstance(data.features, CachedFeatures) and data.features.count == 3
    saved = Classifier.from_checkpoint(path)
    assert saved.options.draws == 3
    again, data = classifier(Blobs(), FixMatch(ratio=1), model=options), Blobs()
    trainer(2).fit(again, datamodule=data, ckpt_path=path, weights_only=True)
    assert isinstance(data.features, CachedFeatures) and data.features.count == 3
    assert same(weights(module.network), weights(again.network))


OPTIONS = ModelOptions("small", adapt="head", draws=2)


def fit(
    strategy: Any, options: ModelOptions = OPTIONS, seed: int = 0, **kwargs: Any
) -> tuple[Classifier, Blobs, pl.Trainer]:
    data = Blobs(seed=seed)
    module, fitter = classifier(data, strategy, model=options), trainer(2, **kwargs)
    fitter.fit(module, datamodule=data)
    return module, data, fitter


def test_steps_and_scores_are_those_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone sees an image once for each draw, and what is scored is what the network says of the images."""
    seen: list[int] = []
    hook = lambda _, args: seen.append(len(args[0]))  # noqa: E731
    data = Blobs()
    module, fitter = classifier(data, FixMatch(ratio=2), model=OPTIONS), trainer(2)
    module.network.backbone.register_forward_pre_hook(hook)
    fitter.fit(module, datamodule=data)
    # Labeled and unlabeled weak views share an array; Blobs' weak view is the plain image.
    assert sum(seen) == 102 + 30 + strong(data)
    accuracy = module.scores["val"].scalars["accuracy"]
    data.features = None
    with torch.no_grad():
        pool = data.pools.val
        assert pool is not None
        predicted = module.eval()(torch.cat(list(pool.chunks(64))).float() / 255).argmax(1)
    assert accuracy == pytest.approx(float((predicted == pool.labels).float().mean()), abs=1 / 30)


def strong(data: Blobs) -> int:
    pool = data.pools.unlabeled
    assert pool is not None
    return 2 * len(pool)


def test_what_a_training_takes_is_told_of_features_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image goes through the backbone but to be computed once."""
    seen: list[int] = []
    data = Blobs()
    module = classifier(data, FixMatch(ratio=2), model=OPTIONS)
    module.network.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    trainer(1, callbacks=[Forecast()]).fit(module, datamodule=data)
    assert sum(seen) == 102 + 30 + strong(data)


def test_a_run_on_features_goes_on_exactly(tmp_path: Path) -> None:
    whole, _, _ = fit(CoMatch(ratio=1), enable_checkpointing=True, callbacks=[SaveAt(6, tmp_path / "x.ckpt")])
    data = Blobs()
    resumed, fitter = classifier(data, CoMatch(ratio=1), model=OPTIONS), trainer(2)
    fitter.fit(resumed, datamodule=data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert same(weights(whole), weights(resumed))


def test_pseudo_labels_are_made_from_the_features(folder: Path) -> None:
    module, data, _ = fit(PseudoLabel(rule="top_k_overall", top_k=10, warmup_epochs=1, every_n_epochs=1))
    assert len(data.relabeled) == 10 and len(list(folder.glob("*.features"))) == 1  # Blobs' weak view is the plain one
    assert module.network.backbone.training is False


@pytest.mark.parametrize("name", ["crmatch", "remixmatch", "regmixmatch"])
def test_strategies_that_need_pixels_say_so(name: str) -> None:
    strategy = plugins.load(plugins.STRATEGIES, name)()
    with pytest.raises(InputError, match=r"works on the pixels of images.*--model.draws 0"):
        fit(strategy)


@pytest.mark.parametrize("name", sorted(plugins.installed(plugins.STRATEGIES)))
def test_every_other_strategy_trains_on_features(name: str) -> None:
    part = methods.make(name) if name == "ensemble" else plugins.load(plugins.STRATEGIES, name)()
    if part.sees_pixels:
        return
    alone = isinstance(part, LossStrategy) or not (part.refines or getattr(part, "reads", ()))
    data = Blobs()
    strategy = Composition({name: part} if alone else {"fixmatch": FixMatch(ratio=1), name: part})
    module = Classifier(data.spec, strategy, OPTIONS)
    trainer(1, max_steps=2).fit(module, datamodule=data)
    assert torch.isfinite(module.network.head.weight).all()


def test_fresh_views_where_no_draw_is_kept(folder: Path) -> None:
    fit(FixMatch(ratio=1), ModelOptions("small", adapt="head", draws=0))
    assert not folder.exists()
