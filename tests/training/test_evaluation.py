"""Means of scores over a split, and scores of boxes against labelled regions."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

from gluon_attention.datasets.sampling import Batches, Samples
from gluon_attention.training.evaluation import Sums, box_scores, evaluate, measure, mirrored_error

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

# Boxes (x, y, half side) of two scales per image, and the regions they should contain, in [-1, 1].
BOXES = [[[0, 0, 1], [0.5, 0, 0.3]], [[0, 0, 1], [0, 0, 0.5]], [[0, 0, 1], [0, 0, 0.2]]]
REGIONS = [[0.3, -0.2, 0.7, 0.2], [0.1, 0.1, 0.4, 0.4], [-0.3, -0.1, 0.1, 0.1]]


class Net:
    """A network whose boxes are `BOXES`."""

    def __init__(self, boxes: Optional[List[Any]] = BOXES) -> None:
        self.boxes = boxes

    def attended_boxes(self, rows: nd.NDArray) -> Optional[nd.NDArray]:
        return nd.array(self.boxes)[rows] if self.boxes else None


def box_batches(regions: Optional[Callable[[], np.ndarray]]) -> Batches:
    """Three images that are their row numbers, in batches of two."""
    labels = np.zeros(3, int)
    samples = Samples(labels, 1, lambda rows, rng: rows.astype("float32"), regions=regions)
    return Batches(samples, 2)


def test_box_scores_are_shares_of_images() -> None:
    scores = box_scores(Net(), box_batches(lambda: np.array(REGIONS)), mx.cpu())
    assert scores["box_holds_region"] == pytest.approx(2 / 3)  # not the third
    assert scores["box_centre_in_region"] == pytest.approx(2 / 3)  # not the second
    assert scores["box_2_holds_region"] == 1
    assert scores["box_3_holds_region"] == pytest.approx(2 / 3)
    assert scores["box_overlaps_region"] == 0


@pytest.mark.parametrize(("width", "share"), [(0.5, 1), (0.46, 1), (0.44, 0)])
def test_a_box_overlaps_by_half_of_the_union(width: float, share: float) -> None:
    regions, wide = np.array([[-0.9, -0.3, 0.9, 0.3]] * 3), [[[0, 0, width, 0.3]]] * 3
    scores = box_scores(Net(wide), box_batches(lambda: regions), mx.cpu())
    assert scores["box_overlaps_region"] == share


def test_box_scores_need_boxes_and_regions() -> None:
    assert box_scores(Net(boxes=None), box_batches(lambda: np.array(REGIONS)), mx.cpu()) == {}
    assert box_scores(Net(), box_batches(None), mx.cpu()) == {}


class MeanPixel:
    """A task whose scores are the mean pixel of an image, and a random number."""

    def scores(self, images: nd.NDArray, labels: nd.NDArray) -> Any:
        return {"accuracy": images.mean(axis=1), "drawn": nd.random.uniform(shape=labels.shape)}


IMAGES = np.arange(15.0, dtype="float32").reshape(15, 1) / 15


def fifteen_images() -> Batches:
    """Batches of seven, seven and one."""
    return Batches(Samples(np.zeros(15, int), 1, lambda rows, rng: IMAGES[rows]), 7)


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_last_batch_counts_by_its_images(count: int) -> None:
    scores = evaluate(MeanPixel(), fifteen_images(), [mx.cpu(device) for device in range(count)])
    assert scores["accuracy"] == pytest.approx(IMAGES.mean(), abs=1e-6)


def test_a_test_is_repeatable_and_its_error_is_that_of_the_first_score() -> None:
    one, same, other = (
        measure(None, MeanPixel(), fifteen_images(), [mx.cpu()], seed) for seed in (1, 1, 2)
    )
    assert one == same and one["test"]["drawn"] != other["test"]["drawn"]
    assert one["test_error"] == pytest.approx(100 * (1 - IMAGES.mean()), rel=1e-5)
    assert one["test_images"] == 15


class LeftPixel:
    """Says class 1 as sure as the left pixel is bright."""

    def predict(self, images: nd.NDArray) -> nd.NDArray:
        bright = images[:, 0, 0, 0]
        return nd.stack(1 - bright, bright, axis=1)


@pytest.mark.parametrize("count", [1, 2])
def test_mirrored_error_averages_the_probabilities_of_both_views(count: int) -> None:
    images = np.array([[0.6, 0.1], [0.9, 0.4], [0.2, 0.9]], "float32").reshape(3, 1, 1, 2)
    samples = Samples(np.array([0, 1, 0]), 2, lambda rows, rng: images[rows])
    devices = [mx.cpu(device) for device in range(count)]
    error = mirrored_error(LeftPixel(), Batches(samples, 2), devices)
    assert error == pytest.approx(100 / 3)  # the last; without the mirror image the first is wrong


def test_merged_sums_weigh_every_sample_equally() -> None:
    first, second = Sums(), Sums()
    first.add([{"a": nd.array([1, 2])}, {"a": nd.array([6])}])
    second.add([{"a": nd.array([7]), "b": nd.array([1])}])
    first.merge(second)
    assert first.means() == {"a": 4, "b": 1}
