"""Cached features: computed once, never read by another network, repaired when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from gluon_attention import get_model
from gluon_attention.datasets.detail import detail
from gluon_attention.datasets.sampling import Batches, Samples, Splits
from gluon_attention.zoo.glimpse.feature_cache import FeatureCache, with_cached_features

import mxnet as mx
import numpy as np
import pytest

CPU = mx.cpu()


def small(**options: Any) -> Any:
    kind = dict(classes=16, backbone="tiny", patch=16, hidden=8, patches=2, start_size=2)
    net = get_model("glimpse_mobilenet_v2", **{**kind, **options})
    net.initialize(net.initializer)
    return net


def scenes(seed: int = 0) -> Splits:
    return detail(size=64, coarse=32, train=16, validation=8, test=8, seed=seed)


def batches(samples: Samples) -> Any:
    return Batches(samples, 8, shuffle=True).epoch(3)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """Images that features were computed of, a number for each call."""
    counts: List[int] = []
    compute = FeatureCache._compute

    def counting(self: FeatureCache, kind: int, samples: Any, files: Any, rows: Any) -> None:
        counts.append(len(rows))
        compute(self, kind, samples, files, rows)

    monkeypatch.setattr(FeatureCache, "_compute", counting)
    return counts


def test_cached_features_are_those_of_the_encoder(tmp_path: Path) -> None:
    net, splits = small(), scenes()
    cached = with_cached_features(net, splits, str(tmp_path), CPU)
    images, labels = next(batches(splits.train))
    features, same = next(batches(cached.train))
    np.testing.assert_array_equal(labels, same)
    expected = net.encode(mx.nd.array(images)).asnumpy()
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=2e-3)  # float16 on disk
    assert features.dtype == np.float32 and features.shape[1:] == (128, 4 + 25 + 9)
    one, other = net.trace(mx.nd.array(features)), net.trace(mx.nd.array(expected))
    np.testing.assert_allclose(one.logits.asnumpy(), other.logits.asnumpy(), atol=2e-3)
    assert cached.test is splits.test and cached.validation.images is splits.validation


def test_features_are_computed_once(tmp_path: Path, computed: List[int]) -> None:
    net, splits = small(), scenes()
    first = with_cached_features(net, splits, str(tmp_path), CPU, test=True)
    assert sum(computed) == 3 * (16 + 8 + 8)  # the context, and a grid for each of two sides
    computed.clear()
    again = with_cached_features(net, splits, str(tmp_path), CPU, test=True)
    np.testing.assert_array_equal(first.test.first(8), again.test.first(8))
    with_cached_features(small_like(net, patches=1), splits, str(tmp_path), CPU)
    assert computed == []


def small_like(net: Any, **options: Any) -> Any:
    """Another network with the same visual network."""
    other = small(**options)
    pairs = zip(net.encoder.collect_params().values(), other.encoder.collect_params().values())
    for one, same in pairs:
        same.set_data(one.data())
    return other


@pytest.mark.parametrize("change", ["weights", "reach", "images", "strides"])
def test_features_of_another_encoder_or_image_are_never_read(
    change: str, tmp_path: Path, computed: List[int]
) -> None:
    net = small()
    with_cached_features(net, scenes(), str(tmp_path), CPU)
    computed.clear()
    other = small() if change == "weights" else small_like(net)
    if change == "reach":
        other = small_like(net, reach=0.3)
    if change == "strides":  # as of resnet50_v1.5, which takes the weights of resnet50_v1
        other.encoder.backbone_name = "tiny too"
    with_cached_features(other, scenes(seed=int(change == "images")), str(tmp_path), CPU)
    assert sum(computed) == {"reach": 48}.get(change, 72)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
@pytest.mark.parametrize("when", ["before", "while"])
def test_damaged_files_are_named_and_computed_again(
    damage: str, when: str, tmp_path: Path, computed: List[int], capsys: Any
) -> None:
    net, splits = small(), scenes()
    cached = with_cached_features(net, splits, str(tmp_path), CPU)
    expected = cached.train.first(16)
    victim = sorted(path for path in tmp_path.rglob("*") if path.is_file())[3]
    content = victim.read_bytes()
    victim.write_bytes({"cut": content[:-5], "empty": b"", "foreign": b"not features"}[damage])
    computed.clear()
    if when == "before":
        cached = with_cached_features(net, splits, str(tmp_path), CPU)
    for samples in (cached.train, cached.validation):
        samples.first(len(samples))
    assert str(victim) in capsys.readouterr().out
    assert computed == [1] and victim.read_bytes() == content
    np.testing.assert_array_equal(cached.train.first(16), expected)
