"""Pseudo-labels: what a round selects, what the loss is, and that no truth about unlabeled images gets in."""

from __future__ import annotations

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, probabilities, same, trainer, weights

from semisup.batch import Batch, Samples
from semisup.errors import InputError
from strategies.pseudolabel import PseudoLabel

FAST = {"warmup_epochs": 2, "every_n_epochs": 2, "ramp_end": 4}


def fitted(epochs: int = 4, truth: str = "right", **options: Any) -> tuple[PseudoLabel, Any, Blobs]:
    data, strategy = Blobs(truth), PseudoLabel(**{**FAST, **options})
    module = classifier(data, strategy)
    trainer(epochs).fit(module, data)
    return strategy, module, data


@pytest.mark.parametrize("rule", ["threshold", "top_k_overall", "top_k_per_class", "percentile"])
def test_the_last_round_selects_by_its_rule(rule: Any) -> None:
    strategy, module, data = fitted(rule=rule, threshold=0.5, top_k=7)
    p = probabilities(module, data)
    confidence, predicted = p.max(1)
    ranked = sorted(range(90), key=lambda row: (-confidence[row].item(), row))
    expected = {
        "threshold": [row for row in range(90) if confidence[row] >= 0.5],
        "top_k_overall": sorted(ranked[:7]),
        "top_k_per_class": sorted(r for k in range(3) for r in [r for r in ranked if predicted[r] == k][:7]),
        "percentile": sorted(ranked[:36]),  # the second round: 40 % of 90
    }[rule]
    assert strategy.rows_.tolist() == expected
    assert strategy.targets_.tolist() == predicted[strategy.rows_].tolist()
    assert data.relabeled.rows.tolist() == expected


def test_soft_targets_are_the_predicted_probabilities() -> None:
    strategy, module, data = fitted(rule="top_k_overall", top_k=5, soft=True)
    assert torch.equal(strategy.targets_, probabilities(module, data)[strategy.rows_])


def test_rounds_come_when_due() -> None:
    rounds: list[tuple[int, int]] = []

    class Counting(PseudoLabel):
        def _round(self, module: Any, number: int) -> None:
            rounds.append((module.current_epoch, number))
            super()._round(module, number)

    data = Blobs()
    trainer(8).fit(classifier(data, Counting(warmup_epochs=3, every_n_epochs=2)), data)
    assert rounds == [(2, 0), (4, 1), (6, 2)]


@pytest.mark.parametrize("step", [0, 8, 10, 12, 100])
def test_the_loss_is_lees(step: int) -> None:
    data = Blobs()
    strategy = PseudoLabel(**FAST, weight=3.0)
    module = classifier(data, strategy)
    fit = trainer(1)
    fit.fit(module, data)
    module.eval()  # batch statistics would couple the two halves of the naive version
    generator = torch.Generator().manual_seed(0)

    def samples(count: int) -> Samples:
        images = torch.rand(count, 1, 8, 8, generator=generator)
        rows = torch.arange(count)
        return Samples(rows, rows, images, torch.randint(0, 3, (count,), generator=generator), {"weak": images})

    batch = Batch(step, samples(6), samples(10))
    assert batch.unlabeled is not None
    loss, _ = strategy.loss(module, batch)
    alpha = 3.0 * min(1.0, max(0.0, (step - 2 * 4) / 4))  # the first round comes after 2 epochs of 4 steps
    labeled = F.cross_entropy(module(batch.labeled.views["weak"]), batch.labeled.target)
    pseudo = F.cross_entropy(module(batch.unlabeled.views["weak"]), batch.unlabeled.target)
    assert loss.item() == pytest.approx((labeled + alpha * pseudo).item(), rel=1e-5)


def test_the_truth_about_unlabeled_images_does_not_reach_training() -> None:
    results = []
    for truth in ("right", "permuted", "unknown"):
        _, module, data = fitted(truth=truth, threshold=0.4)
        assert (data.hidden_labels is None) == (truth == "unknown")
        results.append(weights(module))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_pseudo_labels_change_the_weights() -> None:
    assert not same(weights(fitted(threshold=0.4)[1]), weights(fitted(threshold=0.4, weight=0.0)[1]))


def test_every_batch_keeps_its_labeled_images() -> None:
    sizes: list[tuple[int, int]] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
            sizes.append((len(batch.labeled), 0 if batch.unlabeled is None else len(batch.unlabeled)))

    data = Blobs()
    trainer(3, callbacks=[Watch()]).fit(classifier(data, PseudoLabel(**FAST, threshold=0.0, ratio=3)), data)
    assert sizes == [(12, 0)] * 8 + [(12, 36)] * 4


def test_a_round_logs_counts_and_precision(capsys: pytest.CaptureFixture[str]) -> None:
    data = Blobs()
    strategy = PseudoLabel(**FAST, threshold=0.0)
    module, fit = classifier(data, strategy), trainer(4)
    fit.fit(module, data)
    logged = {k.removeprefix("pseudolabel/"): float(v) for k, v in fit.callback_metrics.items() if "pseudo" in k}
    truth = torch.as_tensor(data.pools.hidden_labels)
    predicted = strategy.targets_
    assert logged["count"] == 90 and logged["utilisation"] == 1
    share = predicted.bincount(minlength=3).double() / 90
    assert logged["balance"] == pytest.approx((torch.special.entr(share).sum() / math.log(3)).item())
    assert logged["precision"] == pytest.approx((predicted == truth).float().mean().item())
    for k, name in enumerate(data.spec.class_names):
        assert logged[f"count/{name}"] == (predicted == k).sum()
        if (predicted == k).any():
            assert logged[f"precision/{name}"] == pytest.approx((truth[predicted == k] == k).float().mean().item())
    confidence = probabilities(module, data).max(1).values
    assert logged["confidence/0.9"] == pytest.approx((confidence >= 0.9).float().mean().item())
    assert "round 2 selects 90 of 90 images" in capsys.readouterr().out


def test_a_round_that_selects_nothing_says_so_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    strategy, _, _ = fitted(threshold=1.0)
    assert len(strategy.rows_) == 0
    assert "selects 0 of 90 images; training goes on with the labeled images alone" in capsys.readouterr().out


def test_a_class_that_takes_more_than_half_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Biased(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.network.head.bias.data += torch.tensor([0.0, 50.0, 0.0])

    data = Blobs()
    module = classifier(data, PseudoLabel(**FAST))
    trainer(2, callbacks=[Biased()]).fit(module, data)
    assert "more than half of them, 90, as 'middle'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "pseudolabel.threshold is 1.5, but must be from 0 to 1"),
        ({"top_k": -5}, "pseudolabel.top_k is -5, but must be at least 1"),
        ({"ratio": 0}, "pseudolabel.ratio is 0, but must be at least 1"),
        ({"weight": -1.0}, "pseudolabel.weight is -1.0, but must be at least 0"),
        ({"ramp_start": 9, "ramp_end": 3}, "pseudolabel.ramp_start is 9 and pseudolabel.ramp_end 3"),
        ({"every_n_epochs": 0}, "pseudolabel.every_n_epochs is 0, but must be at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PseudoLabel(**options)


@pytest.mark.parametrize(("rule", "fifth"), [("top_k_overall", 18), ("top_k_per_class", 6)])
def test_the_default_top_k_is_a_fifth_of_a_pool_that_has_fewer(
    rule: Any, fifth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 90 images in all; what a round then selects is what one with that number typed selects."""
    strategy, module, _ = fitted(rule=rule)
    typed, other, _ = fitted(rule=rule, top_k=fifth)
    assert strategy.top_k == fifth and same(weights(module), weights(other))
    assert torch.equal(strategy.rows_, typed.rows_) and len(strategy.rows_) <= 18
    assert f"pseudolabel: top_k is {fifth}, a fifth of the 90 unlabeled images in all" in capsys.readouterr().out


def test_a_top_k_beyond_the_pool_is_refused_before_the_first_step() -> None:
    with pytest.raises(InputError, match="top_k is 91, but the unlabeled pool has 90 images"):
        fitted(rule="top_k_overall", top_k=91)


def test_the_table_counts_the_pseudo_labels_that_were_trained_on() -> None:
    class Seen(pl.Callback):
        """Collects the rows that steps were really taken on."""

        def __init__(self) -> None:
            self.rows: set[int] = set()

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, idx: int) -> None:
            if batch.unlabeled is not None:
                self.rows |= set(batch.unlabeled.index.tolist())

    for options in ({}, {"limit_train_batches": 3}, {"max_steps": 9}, {"accumulate_grad_batches": 2}):
        data, seen = Blobs(), Seen()
        strategy = PseudoLabel(threshold=0.0, warmup_epochs=1, every_n_epochs=1)
        trainer(3, callbacks=[seen], **options).fit(classifier(data, strategy), data)
        assert seen.rows and set(strategy.trained_.tolist()) == seen.rows
        assert strategy.summary().startswith(f"{len(seen.rows)} unlabeled images were trained on by a pseudo-label, ")


@pytest.mark.parametrize(("epochs", "steps", "told"), [(2, -1, True), (3, -1, False), (9, 8, True), (9, 9, False)])
def test_a_training_that_ends_with_its_warm_up_says_so(
    epochs: int, steps: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data, strategy = Blobs(), PseudoLabel(threshold=0.0, warmup_epochs=2)
    trainer(epochs, max_steps=steps).fit(classifier(data, strategy), data)
    said = capsys.readouterr().out
    assert ("no pseudo-label will ever be trained on" in said) is told
    assert (len(strategy.trained_) == 0) is told
