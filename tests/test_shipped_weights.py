"""The weights of RAM that ship with the package know the digits of the sample."""

from __future__ import annotations

from pathlib import Path

from gluon_attention import get_model
from gluon_attention.datasets.mnist import mnist
from gluon_attention.zoo.pretrained import all_weights

import mxnet as mx
import pytest
from mxnet import nd

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "mnist"
TASKS = {  # task, and errors in 100 that would be too many
    "ram_28": ("28", 2),
    "ram_translated_60": ("translated60", 2),
    "ram_cluttered_60": ("cluttered60", 6),
    "ram_cluttered_100": ("cluttered100", 5),
}


@pytest.mark.parametrize("name", sorted(set(TASKS) & set(all_weights())))
def test_shipped_weights(name: str) -> None:
    task, most = TASKS[name]
    mx.random.seed(0)
    net = get_model(name, pretrained=True)
    net.hybridize()
    wrong = count = 0
    for images, labels in mnist(str(SAMPLE), 50, task=task, download=False).test.epoch(0):
        answers = net.predict(nd.array(images[:25]), samples=5).argmax(axis=1).asnumpy()
        wrong, count = wrong + (answers != labels[:25]).sum(), count + len(answers)
    assert 100 * wrong <= most * count
