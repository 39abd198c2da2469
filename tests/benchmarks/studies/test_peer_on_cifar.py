"""Networks of GluonCV that are trained as ours are."""

from __future__ import annotations

import sys
from typing import Any

from gluon_attention.errors import UserError

import numpy as np
import pytest
from mxnet import nd

pytestmark = pytest.mark.slow


@pytest.fixture
def peer_on_cifar() -> Any:
    pytest.importorskip("gluoncv")
    from studies import peer_on_cifar

    return peer_on_cifar


def test_a_peer_equals_the_network_of_gluoncv(peer_on_cifar: Any) -> None:
    peer = peer_on_cifar.Peer("cifar_resnet20_v2", classes=10)
    peer.initialize()
    images = nd.random.uniform(shape=(2, 3, 32, 32))
    expected = peer.body(images).asnumpy()
    peer.hybridize()
    for logits in (peer(images), peer.trace(images).logits):
        np.testing.assert_allclose(logits.asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_peer_is_refused(peer_on_cifar: Any) -> None:
    with pytest.raises(UserError, match="--peer resnet_of_mine"):
        peer_on_cifar.Peer("resnet_of_mine", classes=10)


def test_flags_of_our_networks_are_refused(peer_on_cifar: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["peer_on_cifar.py", "--shape", "slim"])
    with pytest.raises(UserError, match="--shape"):
        peer_on_cifar.main()
