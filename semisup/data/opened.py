"""Opens a dataset's pools, as the options of imbalance and of labeled images among the unlabeled ones ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semisup.data.contract import Contract
from semisup.data.imbalance import imbalanced
from semisup.data.pools import Pools

if TYPE_CHECKING:
    from semisup.data.datamodule import DataModule


def open_pools(data: DataModule) -> Pools:
    """The pools of a datamodule.

    Raises:
        InputError: they can't be opened, or are not what they must be (semisup/data/contract.py).
    """
    pools = Contract(type(data)).read(data)
    if data.imbalance > 1:
        tails = (data.imbalance, data.unlabeled_imbalance, data.unlabeled_per_class)
        pools = imbalanced(pools, data.spec.class_names, *tails, data.labeling_seed)
    if pools.unlabeled and data.labeled_in_unlabeled:
        pools.unlabeled = pools.unlabeled.followed_by(pools.labeled)
        pools.labeled_in_unlabeled = len(pools.labeled)
    return pools
