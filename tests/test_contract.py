"""The contract of a strategy, by two outside ones that use all of it: labels, modules, terms, learned state, ranks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Blobs, SaveAt, classifier, in_two_processes, same, trainer, weights
from outside import BANK, Balanced, Everything
from torch import Tensor, nn

from semisup.batch import Batch, Needs
from semisup.classifier import Classifier
from semisup.composition import Composition
from semisup.errors import InputError
from semisup.models.modes import frozen_batchnorm
from semisup.randomness import Draw
from semisup.runtime.sync_batchnorm import CPUSync, SyncBatchNorm
from semisup.strategy import Loss, LossStrategy, Strategy, TermStrategy


def fit(ckpt_path: Path | None = None, parts: dict[str, Strategy] | None = None, **options: Any) -> dict[str, Any]:
    """Trains three epochs of four steps; every weight, and what the strategies have learned beside them."""
    parts = parts or {"everything": Everything(), "balanced": Balanced()}
    data = Blobs(augmentation="weak", labeled_in_unlabeled=False)
    module = Classifier(data.spec, Composition(parts))
    trainer(3, limit_val_batches=0, **options).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return weights(module) | {f"{name} {key}": x for name, part in parts.items() for key, x in learned(part).items()}


def learned(part: Strategy) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in part.state_dict().items():
        values = value["ramps"] if isinstance(value, dict) else [torch.as_tensor(value)]
        flat |= {f"{name} {i}": torch.as_tensor(x).detach().clone() for i, x in enumerate(values)}
    return flat


def rank(number: int, folder: str, port: int) -> None:
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    two = {"devices": 2, "strategy": "ddp", "plugins": [CPUSync()]}
    torch.save(fit(precision="64-true", **two), Path(folder, f"{number}.pt"))


# ---- stopping, and several processes


def test_a_resumed_run_ends_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    saving = [SaveAt(step, tmp_path / f"{step}.ckpt") for step in (6, 8)]
    whole = fit(enable_checkpointing=True, callbacks=saving)
    assert whole["everything seen 0"] == 3 * 4 * 24 and len([key for key in whole if " more " in key]) == 13
    assert (whole["everything status 0"] >= 0).all() and whole["everything bank 0"].abs().sum(1).gt(0).sum() == BANK
    assert {"network.extra.projection.weight", "ema.average.extra.second.bias"} <= whole.keys()
    for step in (6, 8):
        assert same(fit(tmp_path / f"{step}.ckpt"), whole)


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    in_two_processes(rank, tmp_path)
    first, second = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in range(2))
    alone = fit(precision="64-true")
    assert same(first, second)
    for what, x in alone.items():
        torch.testing.assert_close(first[what], x, rtol=1e-6, atol=1e-8, msg=what)


# ---- views by label


class Witness(LossStrategy):
    """Keeps the batches that it is given."""

    def __init__(self, **needs: Any) -> None:
        self.needs, self.batches = Needs(**needs), list[Batch]()

    def loss(self, module: Any, batch: Batch) -> Loss:
        self.batches.append(batch)
        return module(batch.labeled.views["one"]).square().mean(), {}


def test_two_labels_of_a_view_are_two_draws_of_it() -> None:
    witness = Witness(labeled_views={"one": "weak", "two": "weak"})
    data = Blobs(augmentation="weak", seed=3)
    trainer(1, limit_val_batches=0).fit(classifier(data, witness), data)
    from semisup.augment.views import weak

    for batch in witness.batches:
        for label, images in batch.labeled.views.items():
            draw = Draw(3, batch.step, f"labeled/{label}", batch.labeled.position, 12)
            assert torch.equal(images, weak(batch.labeled.image, draw))
        assert not torch.equal(batch.labeled.views["one"], batch.labeled.views["two"])


def test_a_view_named_twice_without_labels_is_an_error() -> None:
    with pytest.raises(InputError, match=r"name 'weak' twice; .* \{\"weak\": \"weak\", \"weak_2\": \"weak\"\}"):
        Needs(unlabeled_views=("weak", "strong", "weak"))
    assert Needs(unlabeled_views=("weak", "strong")) == Needs(unlabeled_views={"weak": "weak", "strong": "strong"})


# ---- modules beside the network


def test_modules_are_trained_averaged_and_begin_by_the_seed() -> None:
    data = Blobs()

    def made(seed: int) -> Classifier:
        return Classifier(data.spec, Composition({"everything": Everything()}), seed=seed)

    assert same(weights(made(1)), weights(made(1))) and not same(weights(made(1)), weights(made(2)))
    module = made(1)
    before = module.extra["projection"].weight.clone()  # type: ignore[operator]
    plain = Classifier(data.spec, Composition({}), seed=1)
    assert all(torch.equal(x, weights(module)[name]) for name, x in weights(plain).items())
    trainer(1, limit_val_batches=0).fit(module, data)
    after, average = module.extra["projection"].weight, module.teacher.extra["projection"].weight
    assert not torch.equal(after, before)  # type: ignore[arg-type]
    assert not torch.equal(average, before) and not torch.equal(average, after)  # type: ignore[arg-type]


def test_features_and_head_make_the_logits() -> None:
    data = Blobs()
    module = classifier(data, Everything())
    trainer(1, limit_val_batches=0).fit(module, data)
    module.eval()
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(module.head(module.features(images)), module(images))
    teacher = module.teacher
    assert torch.equal(teacher.head(teacher.features(images)), teacher(images))
    assert not teacher(images.requires_grad_()).requires_grad
    with pytest.raises(InputError, match="asks for a teacher and there is none"):
        _ = classifier(data).teacher


@pytest.mark.parametrize("layer", [nn.BatchNorm2d, SyncBatchNorm])
def test_a_frozen_batch_norm_normalises_by_the_batch_and_keeps_its_statistics(layer: type[nn.BatchNorm2d]) -> None:
    network, images = nn.Sequential(layer(3)), torch.rand(4, 3, 2, 2) + 5
    with frozen_batchnorm(network):
        seen = network(images)
    assert same(weights(network), weights(nn.Sequential(layer(3))))
    assert torch.equal(network(images), seen) and network[0].num_batches_tracked == 1
    assert not torch.equal(network[0].running_mean, torch.zeros(3))


# ---- terms


class Part(TermStrategy):
    """Twice the mean of what it reads."""

    def __init__(self, reads: tuple[str, ...] = (), **needs: Any) -> None:
        self.reads, self.needs = reads, Needs(**needs)  # type: ignore[misc]

    def term(self, module: Any, batch: Batch, outputs: dict[str, Tensor]) -> Loss:
        return 2 * outputs["labeled"].mean(), {"mean": outputs["labeled"].mean()}


def test_a_term_is_added_to_the_loss_of_its_owner() -> None:
    data = Blobs()
    module = classifier(data, Part(("labeled",)), "part")
    trainer(1, limit_val_batches=0).fit(module, data)
    module.eval()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    logits = module(batch.labeled.views["weak"])
    loss, metrics, _ = module.strategy.loss(module, batch)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, batch.labeled.target) + 2 * logits.mean())
    assert metrics.keys() == {"part/mean"}


def test_a_term_without_what_it_reads_is_refused() -> None:
    with pytest.raises(InputError, match=r"^part adds a term that reads strong, mask, which supervised training does"):
        Composition({"part": Part(("labeled", "strong", "mask"))})
    with pytest.raises(InputError, match="which everything does not give"):
        Composition({"everything": Everything(), "part": Part(("mask",))})


def test_needs_that_contradict_each_other_are_refused() -> None:
    other = Part(unlabeled_views={"strong": "weak"})
    with pytest.raises(InputError, match="part needs another view as 'strong'"):
        Composition({"everything": Everything(), "part": other})
    with pytest.raises(InputError, match="part names a module 'projection' that another strategy has"):
        Composition({"everything": Everything(), "part": Part(modules={"projection": nn.Linear})})


# ---- learned state


def test_a_checkpoint_that_lacks_what_was_learned_is_refused() -> None:
    with pytest.raises(InputError, match="the checkpoint's Balanced had not learned total"):
        Balanced().load_state_dict({})


# ---- draws


def test_beta_and_permutation_are_functions_of_the_step_and_equal_on_all_ranks() -> None:
    whole = Draw(0, 5, "mix", torch.arange(4096), 4096)
    part = Draw(0, 5, "mix", torch.arange(100, 200), 4096)
    x = whole.beta("share", 0.75)
    assert torch.equal(part.beta("share", 0.75), x[100:200]) and torch.equal(whole.beta("share", 0.75), x)
    assert not torch.equal(Draw(0, 6, "mix", torch.arange(4096), 4096).beta("share", 0.75), x)
    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert x.mean().item() == pytest.approx(0.5, abs=0.02) and x.var().item() == pytest.approx(0.1, abs=0.005)
    order = whole.permutation("partners")
    assert torch.equal(part.permutation("partners"), order)
    assert torch.equal(order.sort().values, torch.arange(4096)) and not torch.equal(order, torch.arange(4096))
