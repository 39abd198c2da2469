"""Means over a split, and how well boxes lie where it knows what they should hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Iterator

from gluon_attention.training.evaluation import Sums, box_scores, evaluate, measure

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

# Boxes of which the last counts, and the regions that they should hold: both are in [-1, 1].
BOXES = [[[0, 0, 1], [0.5, 0, 0.3]], [[0, 0, 1], [0, 0, 0.5]], [[0, 0, 1], [0, 0, 0.2]]]
REGIONS = [[0.3, -0.2, 0.7, 0.2], [0.1, 0.1, 0.4, 0.4], [-0.3, -0.1, 0.1, 0.1]]


class Net:
    """Looks where `BOXES` says."""

    class Trace(SimpleNamespace):
        _fields = ("logits", "boxes")

    def __init__(self, boxes: Any = BOXES) -> None:
        self.boxes = boxes

    def trace(self, rows: nd.NDArray) -> Any:
        boxes = nd.array(self.boxes)[rows] if self.boxes else []
        return self.Trace(logits=None, boxes=boxes)


class Known:
    """Two batches of images that are their own numbers."""

    def epoch(self, index: int) -> Iterator[Any]:
        yield np.array([0, 1]), np.array([0, 0])
        yield np.array([2]), np.array([0])

    def regions(self) -> np.ndarray:
        return np.array(REGIONS)


def test_shares_of_boxes_that_lie_well() -> None:
    found = box_scores(Net(), Known(), mx.cpu())
    assert found["box_holds_region"] == pytest.approx(2 / 3)  # not the third
    assert found["box_centre_in_region"] == pytest.approx(2 / 3)  # not the second
    assert found["box_2_holds_region"] == 1 and found["box_3_holds_region"] == pytest.approx(2 / 3)


def test_without_boxes_or_regions_there_is_nothing_to_say() -> None:
    assert box_scores(Net(boxes=[]), Known(), mx.cpu()) == {}
    assert box_scores(Net(), SimpleNamespace(), mx.cpu()) == {}


class Shown:
    """A task that scores an image by what it shows, and a batch by what was drawn for it."""

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Any:
        return {"accuracy": images.mean(axis=1), "drawn": nd.random.uniform(shape=labels.shape)}


class Rows:
    """Fifteen images in batches of seven, seven and one."""

    samples, images = 15, np.arange(15.0).reshape(15, 1) / 15

    def epoch(self, index: int) -> Iterator[Any]:
        for rows in np.split(self.images, [7, 14]):
            yield rows, np.zeros(len(rows))


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_last_batch_counts_by_its_images(count: int) -> None:
    found = evaluate(Shown(), Rows(), [mx.cpu(device) for device in range(count)])
    assert found["accuracy"] == pytest.approx(Rows.images.mean(), abs=1e-6)


def test_a_test_draws_the_same_each_time_and_tells_the_error_of_the_first_score() -> None:
    one, same, other = (measure(None, Shown(), Rows(), [mx.cpu()], seed) for seed in (1, 1, 2))
    assert one == same and one["test"]["drawn"] != other["test"]["drawn"]
    assert one["test_error"] == pytest.approx(100 * (1 - Rows.images.mean()), rel=1e-5)
    assert one["test_images"] == 15


def test_sums_add_up() -> None:
    first, second = Sums(), Sums()
    first.add([{"a": nd.array([1, 2])}, {"a": nd.array([6])}])
    second.add([{"a": nd.array([7]), "b": nd.array([1])}])
    first.take(second)
    assert first.means() == {"a": 4, "b": 1}
