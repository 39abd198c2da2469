"""The shipped weights classify the sample images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

from gluon_attention import get_model, transform_of
from gluon_attention.datasets import Batches, Splits, cifar10, mnist
from gluon_attention.datasets.detail import detail
from gluon_attention.zoo.pretrained import all_weights

import mxnet as mx
import pytest
from mxnet import nd

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
MOST = {  # errors in 100 that would be too many
    "cifar_residual_attention56_slim": 10,
    "glimpse_detail": 6,
    "racnn_detail": 4,
    "ram_28": 2,
    "ram_translated_60": 2,
    "ram_cluttered_60": 6,
    "ram_cluttered_100": 5,
}
BIRDS = "racnn_mobilenet_v2_activation"  # the terms of its data do not allow a sample


def test_all_are_tested() -> None:
    assert {*MOST, BIRDS} == set(all_weights())


def test_weights_for_birds_load() -> None:
    net, transform = get_model(BIRDS, pretrained=True), transform_of(BIRDS)
    path = sorted((SAMPLE / "imagenet").rglob("*.JPEG"))[0]
    trace = net.trace(nd.array([transform(path)]))
    assert trace.logits.shape == (1, len(all_weights()[BIRDS]["names"])) == (1, 20)
    assert nd.softmax(trace.logits).max().asscalar() > 2 / 20  # not of new weights
    centre, half = trace.boxes[0, 0, :2].asnumpy(), trace.boxes[0, 0, 2:].asnumpy()
    assert (half > 0).all() and (abs(centre) + half <= 1).all()


def splits_of(source: Dict[str, Any]) -> Splits:
    """The sample of a data set; of generated scenes, a few."""
    if source["name"] == "detail":
        return detail(**{**source["options"], "test": 64})
    data = {"cifar10": cifar10, "mnist": mnist}[source["name"]]
    return data(str(SAMPLE / source["name"]), download=False, **source["options"])


@pytest.mark.parametrize("name", sorted(MOST))
def test_shipped_weights(name: str) -> None:
    mx.random.seed(0)
    net = get_model(name, pretrained=True)
    net.hybridize()
    splits, wrong, count = splits_of(all_weights()[name]["source"]), 0, 0
    samples = 5 if name.startswith("ram") else None
    for images, labels in Batches(splits.test, 50).epoch(0):
        actual = net.predict(nd.array(images[:25]), samples).argmax(axis=1).asnumpy()
        wrong, count = wrong + (actual != labels[:25]).sum(), count + len(actual)
    assert 100 * wrong <= MOST[name] * count


@pytest.mark.parametrize("name", [name for name in sorted(MOST) if name.endswith("_detail")])
def test_sample_scenes_are_named_by_their_classes(name: str) -> None:
    net, transform = get_model(name, pretrained=True), transform_of(name)
    paths = sorted((SAMPLE / "detail").iterdir())
    predicted = net.predict(nd.array([transform(path) for path in paths])).argmax(axis=1).asnumpy()
    names = [all_weights()[name]["names"][int(label)] for label in predicted]
    assert names == [path.stem for path in paths]
