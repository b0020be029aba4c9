"""What others do to the same pictures, one at a time in the workers of torch's DataLoader.

`usb` is the pipeline of USB (arXiv 2208.07204) and TorchSSL, written anew: Pillow images; a crop of the image padded
by reflection and a mirroring with probability one half; for the strong view RandAugment(3, 5) and a cutout as well.
`torchvision` is the nearest that torchvision's transforms (v2) offer for the same views, and `torchvision_course` for
the course's augmentation; each takes tensors or Pillow images, whichever was faster.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.transforms import v2

from semisup.augment.views import ROTATION, SCALE_DOWN, SCALE_UP, TRANSLATION

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _affine(image: Image.Image, *coefficients: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


OPERATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, float]] = {
    "AutoContrast": (lambda image, v: ImageOps.autocontrast(image), 0, 1),
    "Brightness": (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.05, 0.95),
    "Color": (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.05, 0.95),
    "Contrast": (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.05, 0.95),
    "Equalize": (lambda image, v: ImageOps.equalize(image), 0, 1),
    "Identity": (lambda image, v: image, 0, 1),
    "Posterize": (lambda image, v: ImageOps.posterize(image, int(v)), 4, 8),
    "Rotate": (lambda image, v: image.rotate(v), -30, 30),
    "Sharpness": (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.05, 0.95),
    "ShearX": (lambda image, v: _affine(image, 1, v, 0, 0, 1, 0), -0.3, 0.3),
    "ShearY": (lambda image, v: _affine(image, 1, 0, 0, v, 1, 0), -0.3, 0.3),
    "Solarize": (lambda image, v: ImageOps.solarize(image, v), 0, 256),  # type: ignore[arg-type]
    "TranslateX": (lambda image, v: _affine(image, 1, 0, v * image.size[0], 0, 1, 0), -0.3, 0.3),
    "TranslateY": (lambda image, v: _affine(image, 1, 0, 0, 0, 1, v * image.size[1]), -0.3, 0.3),
}  # each with the range of its magnitude


class RandAugment:
    """Three random operations of Pillow, each with a random magnitude, and a square cut out."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """An image of the same size."""
        for operation, low, high in random.choices(list(OPERATIONS.values()), k=3):
            image = operation(image, low + (high - low) * random.random())
        width, height = image.size
        side = 0.5 * random.random() * width
        left, top = (int(max(0, random.uniform(0, size) - side / 2)) for size in (width, height))
        image = image.copy()
        corners = (left, top, min(width, left + side), min(height, top + side))
        ImageDraw.Draw(image).rectangle(corners, (125, 123, 114))
        return image


class PerImage(Dataset[tuple[Tensor, ...]]):
    """Views of images, made one image at a time.

    Args:
        images: what is indexed.
        read: from an element to what the transforms take.
        views: the transforms, one for each view.
    """

    def __init__(self, images: Any, read: Callable[[Any], Any], *views: Callable[[Any], Tensor]) -> None:
        self.images, self.read, self.views = images, read, views

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image = self.read(self.images[index])
        return tuple(view(image) for view in self.views)


def usb(images: np.ndarray) -> PerImage:
    """The weak and the strong view of images (N, H, W, 3) uint8."""
    side = images.shape[1]
    moved = [transforms.RandomCrop(side, side // 8, padding_mode="reflect"), transforms.RandomHorizontalFlip()]
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    weak, strong = transforms.Compose([*moved, *last]), transforms.Compose([*moved, RandAugment(), *last])
    return PerImage(images, Image.fromarray, weak, strong)


class _UsbItself(Dataset[tuple[Tensor, ...]]):
    """The two views that USB's own dataset gives, without its index."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        sample = self.dataset[index]
        return sample["x_ulb_w"], sample["x_ulb_s"]


def usb_itself(images: np.ndarray, source: Path) -> Dataset[tuple[Tensor, ...]]:
    """The weak and the strong view of images (N, H, W, 3) uint8 by USB's own code.

    Its packages import all of USB, with what that needs; here they are left empty, and of their modules only those of
    the dataset and its augmentation are run. The transforms are those of its `get_cifar`, at its crop ratio of 0.875.

    Args:
        images: in USB's order of axes.
        source: a checkout of USB, the folder that `semilearn` lies in.
    """
    if not (source / "semilearn" / "datasets" / "augmentation").is_dir():
        raise SystemExit(f"--peer {source}: there is no semilearn/datasets/augmentation in it, as in a checkout of USB")
    for name in ("semilearn", "semilearn.datasets", "semilearn.datasets.cv_datasets"):
        package = ModuleType(name)
        package.__path__ = [str(source.joinpath(*name.split(".")))]
        sys.modules[name] = package
    augmentation = import_module("semilearn.datasets.augmentation")
    dataset = import_module("semilearn.datasets.cv_datasets.datasetbase").BasicDataset
    side = images.shape[1]
    moved = [
        transforms.Resize(side),
        transforms.RandomCrop(side, padding=int(side * (1 - 0.875)), padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
    ]
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    weak = transforms.Compose([*moved, *last])
    strong = transforms.Compose([*moved, augmentation.RandAugment(3, 5), *last])
    targets = np.zeros(len(images), dtype=np.int64)
    return _UsbItself(dataset("fixmatch", images, targets, 10, weak, is_ulb=True, strong_transform=strong))


def torchvision(images: np.ndarray) -> PerImage:
    """The weak and the strong view of images (N, H, W, 3) uint8, by torchvision's own operations."""
    side = images.shape[1]
    moved = [v2.RandomCrop(side, side // 8, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    strong = [*moved, v2.RandAugment(num_ops=3), *last, v2.RandomErasing(1, scale=(1e-4, 0.25), ratio=(1, 1))]
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return PerImage(planes, nn.Identity(), v2.Compose([*moved, *last]), v2.Compose(strong))


def torchvision_course(images: np.ndarray) -> PerImage:
    """The course's view of images (N, H, W, 3) uint8: one affine map of each image, half of them mirrored."""
    affine = v2.RandomAffine(
        ROTATION, (TRANSLATION, TRANSLATION), (SCALE_DOWN, SCALE_UP), interpolation=v2.InterpolationMode.BILINEAR
    )
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return PerImage(images, Image.fromarray, v2.Compose([affine, v2.RandomHorizontalFlip(), *last]))


def batches(
    dataset: Dataset[tuple[Tensor, ...]], size: int, count: int, workers: int
) -> DataLoader[tuple[Tensor, ...]]:
    """`count` batches of `size` random images each time it is gone through, from workers that stay alive."""
    sampler = RandomSampler(dataset, num_samples=count * size)
    return DataLoader(dataset, size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
