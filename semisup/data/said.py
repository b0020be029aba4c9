"""What is said of a dataset when a fit begins: how many images there are, and what may spoil the training."""

from __future__ import annotations

from collections.abc import Callable

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from semisup.data.doubles import doubles
from semisup.data.fingerprint import Fingerprint
from semisup.data.imbalance import say_tails
from semisup.data.pools import DataSpec, Pools
from semisup.runtime.console import say

_UNEVEN = 3  # times as many labels as another class has


def say_pools(spec: DataSpec, pools: Pools, imbalance: float, fingerprint: Callable[[], Fingerprint]) -> None:
    """Says what was found, and warns.

    Args:
        spec: of the dataset.
        pools: its images.
        imbalance: as `--data.imbalance`.
        fingerprint: makes that of the pools, by which images that are there twice are found.
    """
    count = {"labeled": pools.labeled, "unlabeled": pools.without_label, "val": pools.val, "test": pools.test}
    sizes = ", ".join(f"{len(pool):,} {name}" for name, pool in count.items() if pool)
    say(f"data: {spec.name}, {sizes}")
    if imbalance > 1:
        say_tails(pools, len(spec.class_names))
    if pools.unlabeled:
        among = pools.labeled_in_unlabeled > 0
        told = "among the unlabeled ones too, without their labels" if among else "not among the unlabeled ones"
        say(f"data: the labeled images are {told} (--data.labeled_in_unlabeled {str(among).lower()})")
    _warn(spec.class_names, pools, imbalance, fingerprint)


@rank_zero_only
def _warn(names: tuple[str, ...], pools: Pools, imbalance: float, fingerprint: Callable[[], Fingerprint]) -> None:
    counts = pools.labeled.labels.bincount(minlength=len(names)).tolist()
    few, most = (names[counts.index(count)] for count in (min(counts), max(counts)))
    if max(counts) >= _UNEVEN * min(counts) and imbalance == 1:
        say(
            f"data: warning: labels are uneven, from {min(counts):,} of {few} to {max(counts):,} of {most}; look "
            f"at the balanced accuracy too, in which every class counts alike, and try --data.sampler balanced or "
            f"--model.class_weights balanced"
        )
    for line in doubles(fingerprint(), names):
        say(line)
