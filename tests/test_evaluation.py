"""How well boxes lie, where a split knows what they should hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Iterator

from gluon_attention.training.evaluation import box_scores

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
