"""Figures of images and features show what they are given, and how every figure is drawn and saved."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from drawn_figures import GENERATOR, drawn_image, predictions
from PIL import Image
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from datamodules.digits import Digits
from semisup.augment.views import VIEWS
from semisup.classifier import ModelOptions
from semisup.figures.augmentations import augmentations
from semisup.figures.calibration import calibration
from semisup.figures.confusion import confusion, counted
from semisup.figures.curves import curves
from semisup.figures.embedding import composite, embedding, framed, knn_accuracy, scaled, thumbnails, tsne
from semisup.figures.filters import filters, symmetric
from semisup.figures.mosaic import mosaic, pixels
from semisup.figures.rounds import pseudolabels
from semisup.figures.stages import first_filters, stage_features, stages
from semisup.figures.style import PALETTE, rendered, save
from semisup.figures.surrogate import surrogate, whole_patches
from semisup.runs.rounds import rounds
from tests.helpers import classifier, patches

# Grids of images


def test_a_mosaic_holds_every_cell_in_reading_order() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (5, 30, 24, 3), dtype=np.uint8)
    canvas = mosaic(cells, 3, background=(1, 2, 3))
    assert canvas.shape == (2 * 30 + 2, 3 * 24 + 2 * 2, 3)
    rest = np.ones(canvas.shape[:2], dtype=bool)
    for number, cell in enumerate(cells):
        place = np.s_[number // 3 * 32 :, number % 3 * 26 :]
        assert np.array_equal(canvas[place][:30, :24], cell)
        rest[place][:30, :24] = False
    assert (canvas[rest] == (1, 2, 3)).all()


def test_small_cells_are_enlarged_by_a_whole_factor() -> None:
    cell = np.random.default_rng(0).integers(0, 256, (1, 7, 7, 3), dtype=np.uint8)
    assert np.array_equal(mosaic(cell, 1), np.kron(cell[0], np.ones((4, 4, 1), dtype=np.uint8)))


def test_pixels_are_the_images_own_as_integers_and_as_floats() -> None:
    images = patches(8)
    expected = images.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels(images), expected)
    assert np.array_equal(pixels(images.float() / 255), expected)
    assert np.array_equal(pixels(images[:, :1]), expected[..., :1].repeat(3, axis=3))


def test_filters_are_scaled_symmetrically_about_zero_each_by_itself() -> None:
    weights = torch.tensor([[0.0, 2.0, -4.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 1.5, 0.0]]).view(3, 1, 2, 2)
    expected = torch.tensor([[0.5, 0.75, 0.0, 0.625], [0.5] * 4, [1.0, 0.5, 0.75, 0.5]])
    assert torch.equal(symmetric(weights).view(3, 4), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_all_filters_are_in_the_grid(channels: int) -> None:
    weights = torch.randn(64, channels, 3, 3, generator=GENERATOR)
    figure = filters({"before": weights.flip(0), "after": weights})
    assert [axes.get_title("left") for axes in figure.axes] == ["before", "after"]
    grid = drawn_image(figure, 1)
    assert grid.shape == (8 * 26 - 2, 8 * 26 - 2, 3)
    for number, weight in enumerate(weights):
        gray = 255 * (0.5 + 0.5 * weight / weight.abs().max())
        cell = grid[number // 8 * 26 :, number % 8 * 26 :][:24:8, :24:8]
        assert np.abs(cell - gray.permute(1, 2, 0).numpy()).max() <= 0.5001


def test_the_patch_comes_first_and_then_the_samples_of_its_class() -> None:
    images, centres = patches(40, columns=(30,)), torch.tensor([[15.5, 15.5], [20.5, 17.5], [23.5, 23.5], [16.5, 22.5]])
    seeds = whole_patches(images, centres, 32)
    assert torch.equal(seeds[1], images[1, :, 2:34, 5:37])
    samples = patches(32).unflatten(0, (4, 3)).float() / 255
    image = drawn_image(surrogate(seeds, samples))
    gap = 32 // 3
    for row in range(4):
        line = image[34 * row : 34 * row + 32]
        assert np.array_equal(line[:, :32], pixels(seeds)[row])
        assert (line[:, 32 : 32 + gap] == 255).all()
        for column in range(3):
            assert np.array_equal(line[:, 32 + gap + 34 * column :][:, :32], pixels(samples[row])[column])


def test_every_view_has_its_row_and_its_name() -> None:
    views = {"none": patches(32).float() / 255, "dark": patches(32).float() / 510}
    figure = augmentations(views)
    image, axes = drawn_image(figure), figure.axes[0]
    assert np.array_equal(image[:32], mosaic(pixels(views["none"]), 12))
    assert np.array_equal(image[34:], mosaic(pixels(views["dark"]), 12))
    names = {round(y): label.get_text() for y, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)}
    assert [name for y, name in names.items() if y < 32] == ["none"]
    assert [name for y, name in names.items() if y > 34] == ["dark"]


def test_the_longest_name_of_a_view_lies_within_the_figure() -> None:
    figure = augmentations(dict.fromkeys(VIEWS, patches(32).float() / 255))
    image = rendered(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*VIEWS]
    assert (image[:, :4] == 255).all() and (image[:, 4 : len(image) // 8] < 255).any()


# Embedding


def test_thumbnails_lie_at_their_coordinates() -> None:
    cells = np.random.default_rng(0).integers(0, 255, (4, 10, 10, 3), dtype=np.uint8)
    canvas = composite(cells, np.array([[0.0, 0.0], [4.0, 1.0], [2.0, 0.5], [2.0, 0.5]]), 210)
    assert canvas.shape == (60, 210, 3)  # 4 wide is 200 pixels between the corners, so 1 high is 50
    assert np.array_equal(canvas[50:, :10], cells[0])  # y points upwards
    assert np.array_equal(canvas[:10, 200:], cells[1])
    assert np.array_equal(canvas[25:35, 100:110], cells[3])  # the later one covers the other
    assert (canvas == 255).all(axis=2).sum() == 60 * 210 - 300


def test_the_figure_shows_the_last_drawn_thumbnail_in_the_frame_of_its_class() -> None:
    images, target = patches(16), torch.arange(12) % 3
    features = torch.randn(12, 5, generator=GENERATOR)
    figure = embedding(images, target, features, ("a", "b", "c"), "noise")
    image = drawn_image(figure)
    cell = thumbnails(images, 48)[-1]
    assert cell.shape == (48, 48, 3) and np.array_equal(cell[::3, ::3], images[-1].permute(1, 2, 0).numpy())
    frame = framed(cell[None], np.array([[255, 255, 255]]), 1)
    row, column = scaled(tsne(features, 0), image.shape[1], (56, 56))[0][-1]
    assert np.array_equal(image[row + 3 : row + 53, column + 3 : column + 53], frame[0])
    assert tuple(image[row, column]) == tuple(bytes.fromhex(PALETTE[2][1:]))
    assert f"{100 * knn_accuracy(features, target):.1f} %" in figure.get_suptitle()


def test_large_images_are_shrunk_to_the_size_of_a_thumbnail() -> None:
    cells = thumbnails(patches(96), 24)
    assert cells.shape == (12, 24, 24, 3)
    pillow = [Image.fromarray(x).resize((24, 24), Image.Resampling.BILINEAR) for x in pixels(patches(96))]
    assert np.abs(np.stack([np.asarray(x, dtype=int) for x in pillow]) - cells).max() <= 1


def test_neighbours_vote_as_in_scikit_learn() -> None:
    target = torch.randint(3, (120,), generator=GENERATOR)
    features = torch.randn(120, 6, generator=GENERATOR) + target[:, None]
    ours = knn_accuracy(features, target)
    theirs = cross_val_score(KNeighborsClassifier(5), features.numpy(), target.numpy(), cv=LeaveOneOut()).mean()
    assert ours == pytest.approx(theirs, abs=1e-12) and 0.4 < ours < 1


def test_t_sne_repeats_keeps_neighbours_and_spreads_from_left_to_right() -> None:
    target = torch.arange(90) % 3
    features = torch.randn(90, 20, generator=GENERATOR) + 10 * torch.nn.functional.one_hot(target, 20)
    places = tsne(features, seed=0)
    assert np.array_equal(places, tsne(features, seed=0))
    assert knn_accuracy(torch.from_numpy(places), target) == 1
    spread = np.cov(places.T)
    assert spread[0, 0] >= spread[1, 1] and abs(spread[0, 1]) < 1e-3 * spread[0, 0]


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("small", ["pooling 1", "pooling 2"]),
        ("sample", ["pooling 1", "pooling 2", "pooling 3", "pooling 4"]),
        ("wrn-28-2", ["stage 1", "stage 2", "stage 3"]),
        ("torchvision:resnet18", ["stage 1", "stage 2", "stage 3", "stage 4"]),
    ],
)
def test_features_are_taken_after_every_stage(backbone: str, expected: list[str]) -> None:
    module = classifier(Digits(), model=ModelOptions(backbone=backbone, normalization="none")).train()
    images = Digits().pools.labeled.gather(torch.arange(6))
    assert list(stages(module.network.backbone)) == expected
    found = dict(stage_features(module, images, batch_size=4))
    assert list(found) == [*expected, "features"]
    assert module.training and not any(layer._forward_hooks for layer in module.modules())
    module.eval()
    with torch.no_grad():
        x = images.float() / 255
        assert torch.allclose(found["features"], module.network.backbone(x), atol=1e-5)
        if backbone == "small":
            body = module.network.backbone.body
            assert torch.allclose(found["pooling 2"], body[:8](x).flatten(1), atol=1e-5)


def test_the_weights_that_evaluate_are_drawn() -> None:
    module = classifier(Digits(), model=ModelOptions(normalization="none"))
    module.start_ema(0.9)
    before = first_filters(module).clone()
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(1)
    assert torch.equal(first_filters(module), before)
    module.start_ema(0)
    assert torch.allclose(first_filters(module), before + 1)


# Files


def test_files_are_valid_complete_and_the_same_every_time(tmp_path: Path) -> None:
    def draw(folder: str) -> list[Path]:
        return save(filters({"some": torch.arange(36.0).view(4, 1, 3, 3) - 18}), tmp_path / folder, "filters")

    png, pdf = draw("one")
    with Image.open(png) as image:
        image.load()
        assert image.size[0] == 1300 and image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["filters.pdf", "filters.png"]
    for one, other in zip((png, pdf), draw("other"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_figure_is_rendered_as_it_is_saved(tmp_path: Path) -> None:
    one, other = (confusion(torch.eye(3).long(), ("a", "b", "c")) for _ in range(2))
    with Image.open(save(one, tmp_path, "confusion")[0]) as image:
        saved = np.asarray(image.convert("RGB"))
    assert np.array_equal(rendered(other, dpi=200), saved)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save(confusion(torch.eye(3).long(), ("a", "b", "c")), tmp_path, "confusion")
    assert dict(matplotlib.rcParams) == before


def test_no_text_is_smaller_than_eight_points() -> None:
    p, target = predictions()
    row = {"pseudolabel/count/a": 1.0, "pseudolabel/precision": 0.5}
    drawn = [
        calibration(p, target),
        confusion(counted(p, target), ("a", "b", "c", "d")),
        pseudolabels(rounds([row])),
        curves({"run": [{"epoch": 0, "step": 9, "train/loss": 0.5}]}),
        filters({"some": torch.randn(4, 1, 3, 3, generator=GENERATOR)}),
        augmentations({"none": patches(32).float() / 255}),
        embedding(patches(16), torch.arange(12) % 3, patches(16).flatten(1).float(), ("a", "b", "c"), "pixels"),
    ]
    for figure in drawn:
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert texts and min(text.get_fontsize() for text in texts) >= 8
        assert figure.get_size_inches()[0] <= 6.5


def test_the_running_mean_of_the_loss_ends_where_a_phase_begins() -> None:
    """Steps before the last phase are counted down to zero, and the training may begin anew in it."""
    before, last = np.full(100, 0.05), np.linspace(2, 1, 200)
    losses = zip(range(-100, 200), [*before, *last], strict=True)
    drawn = curves({"run": [{"epoch": 0, "step": step, "train/loss": loss} for step, loss in losses]})
    line = next(line for line in drawn.axes[0].lines if line.get_label() == "run")
    smooth = np.asarray(line.get_ydata(), dtype=float)
    assert len(smooth) == 300
    np.testing.assert_allclose(smooth[:100], 0.05)
    np.testing.assert_allclose(smooth[100:], [last[max(0, k - 4) : k + 5].mean() for k in range(200)])
