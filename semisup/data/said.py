"""What is said of a dataset when a fit begins: how many images there are, and what may spoil the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.data.doubles import doubles
from semisup.data.imbalance import say_tails
from semisup.runtime.console import say

if TYPE_CHECKING:
    from semisup.data.datamodule import DataModule
    from semisup.data.pools import Pools

_UNEVEN = 3  # times as many labels as another class has


def say_pools(data: DataModule, pools: Pools) -> None:
    """Says what was found, and warns."""
    count = {"labeled": pools.labeled, "unlabeled": pools.without_label, "val": pools.val, "test": pools.test}
    sizes = ", ".join(f"{len(pool):,} {name}" for name, pool in count.items() if pool)
    say(f"data: {data.spec.name}, {sizes}")
    if data.imbalance > 1:
        say_tails(pools, len(data.spec.class_names))
    if pools.unlabeled:
        among = pools.labeled_in_unlabeled > 0
        told = "among the unlabeled ones too, without their labels" if among else "not among the unlabeled ones"
        say(f"data: the labeled images are {told} (--data.labeled_in_unlabeled {str(among).lower()})")
    _warn(data)


@rank_zero_only
def _warn(data: DataModule) -> None:
    names = data.spec.class_names
    counts = data.pools.labeled.labels.bincount(minlength=len(names)).tolist()
    few, most = (names[counts.index(count)] for count in (min(counts), max(counts)))
    if max(counts) >= _UNEVEN * min(counts) and data.imbalance == 1:
        say(
            f"data: warning: labels are uneven, from {min(counts):,} of {few} to {max(counts):,} of {most}; look "
            f"at the balanced accuracy too, in which every class counts alike, and try --data.sampler balanced or "
            f"--model.class_weights balanced"
        )
    for line in doubles(data.fingerprint, names):
        say(line)
