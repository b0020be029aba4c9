"""RegMixMatch: partners, and a step against a slow version of it, image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import Blobs, classifier, trainer
from torch import Tensor

from semisup.batch import Batch
from semisup.mixup import resize_mix
from strategies.freematch import FreeMatch
from strategies.regmixmatch import RegMixMatch, shuffled


@pytest.mark.parametrize("chosen", ["0110101", "1111111", "0001000", "0000000"])
def test_chosen_images_are_shuffled_among_themselves(chosen: str) -> None:
    mask = torch.tensor([x == "1" for x in chosen])
    permutation = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    found = shuffled(mask, permutation)[mask].tolist()
    assert sorted(found) == mask.nonzero()[:, 0].tolist()
    assert found == [k for k in permutation.argsort().tolist() if mask[k]]


def naive_step(module: object, strategy: RegMixMatch, batch: Batch) -> tuple[Tensor, Tensor, list[bool], int]:
    """The two terms of mixed images, which are over the threshold, and how many found no partner of their class."""
    assert batch.unlabeled is not None
    weak, strong = batch.unlabeled.views["weak"], batch.unlabeled.views["strong"]
    seen = [module(x[None]).softmax(1)[0].detach() for x in weak]  # type: ignore[operator]
    sure = [bool(p.max() >= strategy.mix_threshold) for p in seen]
    draw = module.draw(batch.unlabeled, batch, "regmixmatch")  # type: ignore[attr-defined]
    pool = [(x, int(y)) for x, y in zip(batch.labeled.views["weak"], batch.labeled.target, strict=True)]
    pool += [(x, int(p.argmax())) for x, p in zip(strong, seen, strict=True)]
    known = [True] * len(batch.labeled) + sure
    alike = [k for k in draw.permutation("alike").argsort().tolist() if sure[k]]
    aware, other, centre = draw.uniform("aware"), draw.uniform("other", len(pool)), draw.uniform("centre", 2)
    areas = {True: draw.beta("area/1.0", 1.0), False: draw.beta("area/16.0", 16.0)}
    high, low, alone = torch.tensor(0.0), torch.tensor(0.0), 0
    for k, (x, p) in enumerate(zip(strong, seen, strict=True)):
        side = 0.1 + 0.7 * areas[sure[k]][k].sqrt()
        if sure[k]:
            partner, own = len(batch.labeled) + alike[sum(sure[:k])], F.one_hot(p.argmax(), 3).float()
        else:
            fit = [j for j in range(len(pool)) if known[j] and (aware[k] >= 0.5 or pool[j][1] == int(p.argmax()))]
            partner, own = max(fit, key=lambda j: float(other[k, j]), default=-1), p
            if not fit:
                side, alone = side * 0, alone + 1
        mixed, share = resize_mix(x[None], pool[partner][0][None], side[None], centre[k : k + 1])
        goal = share * own + (1 - share) * F.one_hot(torch.tensor(pool[partner][1]), 3)
        logits = module(mixed)[0]  # type: ignore[operator]
        if sure[k]:
            high = high - (goal * logits.log_softmax(0)).sum() / len(strong)
        else:
            low = low + (logits.softmax(0) - goal).square().mean() * p.max() ** 3 / (len(strong) - sum(sure))
    return high, low, sure, alone


@pytest.mark.parametrize("share_sure", [0.0, 0.5, 1.0])
def test_the_loss_and_the_gradient_of_a_step(share_sure: float) -> None:
    data = Blobs(augmentation="weak")
    module = classifier(data, strategy := RegMixMatch(ratio=3, decay=0.5, fairness=0.0, ema_decay=0))
    trainer(1).fit(module, data)
    batch: Batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch.unlabeled is not None
    module.eval()  # batch statistics would couple the images of the slow version
    with torch.no_grad():
        confidence, predicted = module(batch.unlabeled.views["weak"]).softmax(1).max(1)
    keep = batch.labeled.target != predicted.mode().values  # so that a class that is predicted has no labeled image
    batch.labeled.target, batch.labeled.views = batch.labeled.target[keep], {"weak": batch.labeled.views["weak"][keep]}
    batch.labeled.index = batch.labeled.position = torch.arange(int(keep.sum()))
    strategy.mix_threshold = {0.0: 1.1, 0.5: float(confidence.median()) + 1e-6, 1.0: 0.0}[share_sure]
    state = strategy.state_dict()
    clean, *_ = FreeMatch.loss(strategy, module, batch)
    strategy.load_state_dict(state)
    loss, metrics, _ = strategy.loss(module, batch)
    parameters = list(module.network.parameters())
    gradient = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    high, low, sure, alone = naive_step(module, strategy, batch)
    assert sum(sure) == share_sure * 36 and (alone > 0) == (share_sure == 0.0)
    torch.testing.assert_close(metrics["loss_mixed"], high)
    torch.testing.assert_close(metrics["loss_class_aware"], low)
    torch.testing.assert_close(loss, clean + high + low)
    slow = torch.autograd.grad(clean + high + low, parameters, allow_unused=True)
    for got, wanted in zip(gradient, slow, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)
