"""Torchvision's networks as backbones: every tensor has a place, and the features are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop.load import load_backbone
from gluon_attention.interop.tensor_table import TensorTable
from gluon_attention.interop.torchvision import backbone_arrays, is_torchvision
from gluon_attention.zoo.backbones import backbone

import numpy as np
import pytest
from foreign_states import (
    gluoncv_mobilenet,
    import_gluoncv,
    mobilenet_state,
    numbered_resnet50_names,
    resnet50_names,
)
from mxnet import nd


def test_mobilenet_gives_the_same_features(torch_files: Any, tmp_path: Path) -> None:
    source, images = gluoncv_mobilenet("0.25"), nd.random.normal(shape=(2, 3, 64, 64))
    file = torch_files.save(tmp_path / "mobilenet_v2.pth", mobilenet_state(source))
    net = backbone("mobilenetv2_0.25")
    load_backbone(net, file)
    expected = source.features(images).asnumpy()[:, :, 0, 0]
    assert expected.std(axis=0).mean() > 0.05  # they are of these images
    np.testing.assert_allclose(net(images).mean(axis=(2, 3)).asnumpy(), expected, 1e-3, 1e-4)
    assert net.layers[3].out[0].weight.grad_req == "null"
    inner = nd.random.uniform(0, 6, shape=(1, 8, 2, 2))  # the source has no expansion there
    expanded = net.layers[3].out[1](net.layers[3].out[0](inner))
    np.testing.assert_allclose(expanded.asnumpy(), inner.asnumpy(), 1e-6)
    for name, match in (("resnet18_v1", "has no '"), ("mobilenetv2_1.0", "in the net; build")):
        with pytest.raises(UserError, match=match):
            load_backbone(backbone(name), file)


def test_a_backbone_alone_is_no_network(torch_files: Any, tmp_path: Path) -> None:
    state = {name: np.zeros(1, "f4") for name in resnet50_names()}
    with pytest.raises(UserError, match="holds only a backbone of GlimpseNet"):
        load_weights(get_model("glimpse_resnet50"), torch_files.save(tmp_path / "x", state))
    with pytest.raises(UserError, match="is not a file"):
        load_weights(get_model("glimpse_resnet50"), str(tmp_path))


def test_a_checkpoint_of_no_backbone_is_refused(torch_files: Any, tmp_path: Path) -> None:
    file = torch_files.save(tmp_path / "x", {"rnn.weight": np.zeros((2, 2), "f4")})
    with pytest.raises(UserError, match="torchvision's ResNet-50, MobileNetV2"):
        load_backbone(backbone("mobilenetv2_0.25"), file)


@pytest.mark.parametrize(
    "names", [resnet50_names(), numbered_resnet50_names()], ids=["layers", "sequence"]
)
def test_every_tensor_of_resnet50_has_a_place(names: Any) -> None:
    tensors = dict.fromkeys([*names, "fc.weight", "fc.bias"])
    net, table = backbone("resnet50_v1.5"), TensorTable(tensors)
    arrays = backbone_arrays(net, table)
    assert is_torchvision(tensors)
    assert set(arrays) == set(net.layers._collect_params_with_prefix())
    remaining = [name for name in table.remaining if not name.endswith("num_batches_tracked")]
    assert remaining == ["fc.weight", "fc.bias"]
    biases = [array for array in arrays.values() if array is not None]
    assert len(biases) == 2 * 16 and not any(array.any() for array in biases)
    with pytest.raises(UserError, match="use backbone 'resnet50_v1.5'"):
        backbone_arrays(backbone("resnet50_v1"), TensorTable(tensors))


def test_resnet50_v1_5_has_its_strides_in_3x3_convolutions() -> None:
    source = import_gluoncv().model_zoo.get_model("resnet50_v1b")
    blocks = [source.layer2[0], source.layer3[0], source.layer4[0]]
    strides = [[block.conv1._kwargs["stride"], block.conv2._kwargs["stride"]] for block in blocks]
    bodies = [stage[0].body for stage in backbone("resnet50_v1.5").layers[5:]]
    assert [[body[0]._kwargs["stride"], body[3]._kwargs["stride"]] for body in bodies] == strides
