"""CIFAR-100: 60,000 small photographs of a hundred classes, all labeled, of which only a few labels are given."""

from __future__ import annotations

from torchvision.datasets import CIFAR100 as Source

from datamodules.cifar10 import CIFAR10
from semisup.data.pools import DataSpec

_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class CIFAR100(CIFAR10):
    """60,000 photographs of 32x32 pixels in a hundred classes; labels_per_class says how many labels are given.

    The 10,000 test images are the test set; of the 50,000 others, 5,000 validate, 50 of each class and the same for
    every seed. Of the remaining 45,000, `labels_per_class` per class are labeled, chosen by the seed, and the rest is
    the unlabeled pool, whose labels are hidden. Labels are the fine ones. Published figures have 400, 2,500 or 10,000
    labels, WRN-28-8 and a weight decay of .001.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, in the "python version" of
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        root: the folder that holds cifar-100-python.
        download: whether to download the files (170 MB) to root where they are missing or damaged.
        kwargs: see DataModule.
    """

    source = Source
    spec = DataSpec("cifar100", tuple(_CLASSES.split()), channels=3, image_size=32)
    title = "CIFAR-100"
    packed = 169_001_437
