"""What a closer look could gain, on generated scenes in the layout of the birds."""

from __future__ import annotations

from pathlib import Path

from gluon_attention.datasets.cub import read_birds
from gluon_attention.zoo.backbones import backbone

import mxnet as mx
import numpy as np
import pytest
from cub_writer import write_cub
from figures import rows
from figures.tables import closer_look_table
from mxnet import nd
from studies import closer_look

pytestmark = pytest.mark.slow


def test_a_view_that_shows_the_class_scores_and_noise_does_not() -> None:
    labels = np.arange(60) % 3
    means = {
        closer_look.WHOLE: np.random.randn(60, 5),
        "a view": 0.1 * np.random.randn(60, 5) + np.eye(3, 5)[labels],
    }
    percents = closer_look.accuracies(means, labels, 3)
    assert percents["a view"] == 100 and percents["the whole image and a view"] > 90
    # Chance is 33: no classifier is tested on images that it was trained on.
    assert percents[closer_look.WHOLE] < 65


def test_folds_are_stratified() -> None:
    labels = np.repeat([0, 1, 2], 10)
    folds = closer_look.stratified_folds(labels)
    assert all(np.bincount(labels[folds == fold]).tolist() == [2, 2, 2] for fold in range(5))


def test_boxes_lie_inside_the_image_around_their_targets() -> None:
    features, earlier = nd.zeros((2, 4, 5, 5)), nd.zeros((2, 3, 10, 10))
    features[0, :, 0, 4], earlier[0, :, :2, 8:] = 1, 1  # top right
    birds = np.array([[-0.5, -0.1, 0.3, 0.5], [0.6, 0.6, 1.0, 1.0]])
    views = closer_look.views(features, earlier, birds).values()
    middle, response, active, around, tight = (boxes.asnumpy() for boxes in views)
    np.testing.assert_allclose(middle, [[0, 0, 0.74]] * 2, rtol=1e-5)
    np.testing.assert_allclose(response[0], [0.26, -0.26, 0.74], rtol=1e-5)
    np.testing.assert_allclose(active, [[0.8, -0.8, 0.2, 0.2], [0, 0, 1, 1]], rtol=1e-5)
    np.testing.assert_allclose(around, [[-0.1, 0.2, 0.74], [0.26, 0.26, 0.74]], rtol=1e-5)
    np.testing.assert_allclose(tight, [[-0.1, 0.2, 0.44], [0.7, 0.7, 0.3]], rtol=1e-5)


def test_features_of_every_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cub(str(tmp_path), 40, size=64, coarse=32)
    birds, net = read_birds(tmp_path), backbone("tiny", frozen_bn=True, earlier=True)
    net.initialize(mx.init.Xavier())
    means, overlaps = closer_look.features(birds, np.flatnonzero(birds.training), net, 64)
    assert len(means) == 7 and {mean.shape for mean in means.values()} == {(24, net.channels)}
    assert list(overlaps.values()) == [0] * 5  # marks are smaller than any of the boxes
    whole, *others = means.values()
    assert all(abs(other - whole).max() > 1e-3 for other in others)
    monkeypatch.setattr(closer_look, "regions", lambda *_: np.tile([-1, -1, 0.1, 1], (24, 1)))
    _, overlaps = closer_look.features(birds, np.flatnonzero(birds.training), net, 64)
    assert overlaps["a box as large as the bird"] == 100 and overlaps["a box in the middle"] == 0


def test_rows_name_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cub(str(tmp_path / "birds"), 34, size=64, coarse=32)
    net, weights, appended = backbone("tiny"), str(tmp_path / "tiny.params"), []
    net.initialize()
    net(nd.zeros((1, 3, 64, 64)))
    net.layers.save_parameters(weights)
    words = ["--data-dir", str(tmp_path / "birds"), "--backbone", "tiny"]
    words += ["--backbone-weights", weights, "--size", "64", "--write"]
    monkeypatch.setattr("sys.argv", [closer_look.__file__, *words])
    monkeypatch.setattr(rows, "append", appended.extend)
    closer_look.main()
    assert len(appended) == 18 and not any(row.problem() for row in appended)
    command = "python benchmarks/studies/closer_look.py --backbone tiny --backbone-weights=FILE"
    assert {row.command for row in appended} == {f"{command} --size 64 --write"}


def test_the_table_has_a_line_for_every_view() -> None:
    percents = {closer_look.WHOLE: 80.0, "a box": 75.0, f"{closer_look.WHOLE} and a box": 85.5}
    overlap = rows.measured("net, a box", "birds", closer_look.OVERLAP, 60.0, "%")
    table_rows = [
        rows.measured(f"net, {name}", "birds", closer_look.METRIC, value, "%")
        for name, value in percents.items()
    ]
    assert closer_look_table([*table_rows, overlap]).splitlines()[2:] == [
        "| the whole image | 80.0 % | - | - |",
        "| a box | 75.0 % | 85.5 % | 60.0 % |",
    ]
