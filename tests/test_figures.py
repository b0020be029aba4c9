"""The figures show what they are given: pixels, bars and lines against naive versions and peer libraries."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from datamodules.digits import Digits
from semisup.augment.views import VIEWS
from semisup.classifier import ModelOptions
from semisup.figures.augmentations import augmentations
from semisup.figures.calibration import BINS, bins, calibration
from semisup.figures.confusion import confusion, counted
from semisup.figures.curves import curves, smoothed
from semisup.figures.embedding import composite, embedding, framed, knn_accuracy, scaled, thumbnails, tsne
from semisup.figures.filters import filters, symmetric
from semisup.figures.mosaic import mosaic, pixels
from semisup.figures.rounds import pseudolabels
from semisup.figures.stages import first_filters, stage_features, stages
from semisup.figures.style import PALETTE, rendered, save
from semisup.figures.surrogate import surrogate, whole_patches
from semisup.metrics import Evaluation
from semisup.runs.rounds import rounds
from tests.helpers import classifier, patches

GENERATOR = torch.Generator().manual_seed(0)


def drawn_image(figure: Figure, number: int = 0) -> np.ndarray:
    (image,) = figure.axes[number].images
    return np.asarray(image.get_array())


def bars(figure: Figure, panel: int) -> list[list[float]]:
    return [[bar.get_height() for bar in group] for group in figure.axes[panel].containers]


def predictions(count: int = 300, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(classes, (count,), generator=GENERATOR)
    logits = torch.randn(count, classes, generator=GENERATOR)
    logits[torch.arange(count), target] += 1.5
    return (2 * logits).softmax(1), target


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


# Scores


def test_confusion_counts_as_scikit_learn_and_writes_every_count() -> None:
    p, target = predictions()
    matrix = counted(p, target)
    assert np.array_equal(matrix, confusion_matrix(target, p.argmax(1)))
    figure = confusion(matrix, ("a", "b", "c", "d"))
    axes = figure.axes[0]
    assert np.allclose(drawn_image(figure), matrix / matrix.sum(1, keepdim=True))
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert written == {(i, j): int(matrix[i, j]) for i in range(4) for j in range(4) if matrix[i, j]}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    right = 100 * (p.argmax(1) == target).float().mean()
    assert axes.get_title("left").startswith(f"{right:.1f} % of 300 images")


def test_bins_are_the_naive_ones_and_the_bars_show_them() -> None:
    p, target = predictions()
    p[0] = torch.tensor([1.0, 0, 0, 0])  # the last bin is closed
    found, figure = bins(p, target), calibration(p, target)
    naive = []
    for i in range(BINS):
        chosen = [
            (float(row.max()), int(row.argmax()) == int(k))
            for row, k in zip(p.double(), target, strict=True)
            if i / BINS <= float(row.max()) < (i + 1) / BINS or (i == BINS - 1 and float(row.max()) == 1)
        ]
        assert int(found.images[i]) == len(chosen)
        if chosen:
            naive.append((np.mean([right for _, right in chosen]), np.mean([conf for conf, _ in chosen]), len(chosen)))
    accuracy, confidence, images = np.array(naive).T
    assert np.allclose(bars(figure, 0)[0], accuracy)
    assert np.allclose(np.abs(bars(figure, 0)[1]), np.abs(confidence - accuracy))
    assert np.allclose(bars(figure, 1)[0], images)


def test_thin_bins_of_the_calibration_carry_their_count() -> None:
    p = torch.tensor([[0.97, 0.03]] * 40 + [[0.7, 0.3]] * 3)
    lower = calibration(p, torch.zeros(43, dtype=torch.int64)).axes[1]
    assert [text.get_text() for text in lower.texts] == ["3"]


def test_the_calibration_error_is_the_reported_one() -> None:
    p, target = predictions()
    p[:50] = torch.nn.functional.one_hot(target[:50].roll(25), 4).float()  # quite sure, and mostly wrong
    evaluation = Evaluation(("a", "b", "c", "d"))
    evaluation.update(p.clamp(min=1e-30).log(), target)
    ece = evaluation.compute().scalars["ece"]
    assert f"expected calibration error {100 * ece:.1f} %" in calibration(p, target).axes[0].get_title("left")


# Curves


def test_bars_and_lines_of_pseudo_labels_are_the_metrics() -> None:
    metrics: list[dict[str, float]] = [{"epoch": 0, "step": 9, "train/loss": 1.0}]
    for number in range(3):
        count = {"pseudolabel/count/cat": 10.0 + number, "pseudolabel/count/dog": 5.0 * number}
        precision = {"pseudolabel/precision": 0.9, "pseudolabel/precision/cat": 0.8 + number / 10}
        metrics.append({"epoch": number, "step": 10 + number, "pseudolabel/count": 15.0, **count, **precision})
    found = rounds(metrics)
    assert len(found) == 3
    figure = pseudolabels(found)
    assert bars(figure, 0) == [[10, 11, 12], [0, 5, 10]]
    assert [group.get_label() for group in figure.axes[0].containers] == ["cat", "dog"]
    assert [bar.get_y() for bar in figure.axes[0].containers[1]] == [10, 11, 12]
    assert [text.get_text() for text in figure.axes[0].texts] == ["10", "16", "22"]
    cat, dog, overall = figure.axes[1].lines
    assert np.allclose(cat.get_ydata(), [0.8, 0.9, 1.0]) and np.isnan(dog.get_ydata()).all()
    assert list(overall.get_ydata()) == [0.9] * 3


def test_with_many_classes_the_frequent_ones_are_drawn_and_all_are_counted() -> None:
    row = {f"pseudolabel/count/{k}": float(k) for k in range(30)}
    figure = pseudolabels(rounds([{"epoch": 0, "step": 0, **row}]))
    assert len(figure.axes) == 1  # nothing is known of the truth
    heights = {group.get_label(): group[0].get_height() for group in figure.axes[0].containers}
    assert heights == {**{str(k): k for k in range(21, 30)}, "all other classes": sum(range(21))}


def test_curves_are_the_metrics_of_every_run() -> None:
    loss = torch.rand(100, generator=GENERATOR).tolist()
    metrics = [{"epoch": 0, "step": 10 * k + 9, "train/loss": value} for k, value in enumerate(loss)]
    metrics[49]["val/accuracy"], metrics[99]["val/accuracy"] = 0.75, 0.5
    figure = curves({"one": metrics, "other": metrics[:50]})
    raw, mean, *_ = figure.axes[0].lines
    assert list(raw.get_xdata()) == list(range(10, 1001, 10)) and list(raw.get_ydata()) == loss
    assert np.allclose(mean.get_ydata(), [np.mean(loss[max(0, k - 2) : k + 3]) for k in range(100)])
    line, best, _, _ = figure.axes[1].lines
    assert list(line.get_xdata()) == [500, 1000] and list(line.get_ydata()) == [0.75, 0.5]
    assert best.get_xdata() == 500 and best.get_ydata() == 0.75
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]


def test_the_best_epoch_is_of_the_last_phase() -> None:
    """Steps of phases before are negative."""
    rows: list[dict[str, float]] = [{"step": -1, "val/accuracy": 0.9}, {"step": 4, "val/accuracy": 0.6}]
    rows += [{"step": 9, "val/accuracy": 0.7}, {"step": 14, "val/accuracy": 0.5}]
    line, best = curves({"run": rows}).axes[1].lines
    assert list(line.get_xdata()) == [0, 5, 10, 15] and (best.get_xdata(), best.get_ydata()) == (10, 0.7)


@pytest.mark.parametrize(("least", "scale"), [(0.5, "linear"), (0.01, "log"), (0.0, "linear")])
def test_the_scale_of_losses_is_logarithmic_where_it_spans_a_decade(least: float, scale: str) -> None:
    metrics = [{"epoch": 0, "step": k, "train/loss": 1.0 if k < 50 else least} for k in range(100)]
    assert curves({"run": metrics}).axes[0].get_yscale() == scale


def test_a_run_that_was_never_validated_has_a_loss_alone() -> None:
    figure = curves({"short": [{"epoch": 0, "step": 9, "train/loss": 0.5}]})
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert len(smoothed(np.array([]))) == 0


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
