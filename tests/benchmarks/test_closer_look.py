"""What a closer look could win, on generated scenes in the layout of the birds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gluon_attention.datasets.cub import read_birds
from gluon_attention.zoo.backbones import backbone

import mxnet as mx
import numpy as np
import pytest
from cub_writer import write_cub
from mxnet import nd

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import closer_look

    return closer_look


def test_what_decides_is_told_from_what_does_not(script: Any) -> None:
    labels = np.arange(60) % 3
    found = {
        script.WHOLE: np.random.randn(60, 5),
        "a view": 0.1 * np.random.randn(60, 5) + np.eye(3, 5)[labels],
    }
    told = script.accuracies(found, labels, 3)
    assert told["a view"] == 100 and told["the whole image and a view"] > 90
    assert told[script.WHOLE] < 65  # where chance is 33: no image is tested on that was learned


def test_every_fifth_has_as_many_of_each_class(script: Any) -> None:
    labels = np.repeat([0, 1, 2], 10)
    fold = script._folds(labels)
    assert all(np.bincount(labels[fold == held]).tolist() == [2, 2, 2] for held in range(5))


def test_boxes_lie_in_the_image_around_what_they_are_named_by(script: Any) -> None:
    features = nd.zeros((2, 4, 5, 5))
    features[0, :, 0, 4] = 1  # top right
    birds = np.array([[-0.5, -0.1, 0.3, 0.5], [0.6, 0.6, 1.0, 1.0]])
    found = script.views(features, birds)
    middle, response, around, tight = (boxes.asnumpy() for boxes in found.values())
    np.testing.assert_allclose(middle, [[0, 0, 0.74]] * 2, rtol=1e-5)
    np.testing.assert_allclose(response[0], [0.26, -0.26, 0.74], rtol=1e-5)
    np.testing.assert_allclose(around, [[-0.1, 0.2, 0.74], [0.26, 0.26, 0.74]], rtol=1e-5)
    np.testing.assert_allclose(tight, [[-0.1, 0.2, 0.44], [0.7, 0.7, 0.3]], rtol=1e-5)


def test_features_of_every_view(script: Any, tmp_path: Path) -> None:
    write_cub(str(tmp_path), 40, size=64, coarse=32)
    birds, net = read_birds(tmp_path), backbone("tiny", frozen_bn=True)
    net.initialize(mx.init.Xavier())
    found = script.features(birds, np.flatnonzero(birds.training), net, 64)
    assert len(found) == 6 and {each.shape for each in found.values()} == {(24, net.channels)}
    whole, every, *closer = found.values()
    assert all(abs(each - whole).max() > 1e-3 for each in (every, *closer))


def test_figures_are_kept_without_places(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cub(str(tmp_path / "birds"), 34, size=64, coarse=32)
    net, weights, kept = backbone("tiny"), str(tmp_path / "tiny.params"), []
    net.initialize()
    net(nd.zeros((1, 3, 64, 64)))
    net.layers.save_parameters(weights)
    words = ["--data-dir", str(tmp_path / "birds"), "--backbone", "tiny"]
    words += ["--backbone-weights", weights, "--size", "64", "--write"]
    monkeypatch.setattr("sys.argv", [str(BENCHMARKS / "closer_look.py"), *words])
    monkeypatch.setattr(script.rows, "append", kept.extend)
    script.main()
    assert len(kept) == 11 and not any(row.problem() for row in kept)
    told = "python benchmarks/closer_look.py --backbone tiny --backbone-weights=FILE"
    assert {row.command for row in kept} == {f"{told} --size 64 --write"}


def test_the_table_has_a_line_for_every_view(script: Any) -> None:
    from figures.tables import closer_look_table

    told = {script.WHOLE: 80.0, "a box": 75.0, f"{script.WHOLE} and a box": 85.5}
    kept = [
        script.rows.measured(f"net, {name}", "birds", script.METRIC, value, "%")
        for name, value in told.items()
    ]
    assert closer_look_table(kept).splitlines()[2:] == [
        "| the whole image | 80.0 % | - |",
        "| a box | 75.0 % | 85.5 % |",
    ]
