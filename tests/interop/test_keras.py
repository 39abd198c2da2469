"""Backbones from Keras' HDF5 files, against networks written here as keras.applications has them.

The networks below see pictures (N, H, W, 3) from 0 to 255, prepared as `preprocess_input` does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from gluon_attention import UserError, get_model
from gluon_attention.datasets.view import IMAGENET_MEAN, IMAGENET_STD
from gluon_attention.export.graph import export_onnx
from gluon_attention.interop.load import load_backbone
from gluon_attention.interop.tensor_table import Supply
from gluon_attention.interop.torchvision import backbone_arrays
from gluon_attention.zoo.backbones import backbone

import numpy as np
import pytest
from mxnet import gluon, nd

h5py = pytest.importorskip("h5py")

RESNET, MOBILENET = "resnet50_v1_keras", "mobilenetv2_1.0_keras"
Layers = Dict[str, Dict[str, np.ndarray]]  # in the order in which Keras builds them


class Network:
    """Layers with random weights, made where they are used first."""

    def __init__(self) -> None:
        self.layers: Layers = {}

    def conv(
        self, x: Any, name: str, out: int, side: int, stride: int = 1, bias: bool = False
    ) -> np.ndarray:
        shape = (side, side, x.shape[-1], out or 1)
        kind = "kernel" if out else "depthwise_kernel"
        if name not in self.layers:
            scale = (2 / (side * side * (x.shape[-1] if out else 1))) ** 0.5
            self.layers[name] = {kind: scale * np.random.randn(*shape)}
            if bias:
                self.layers[name]["bias"] = np.random.randn(out)
        weights = self.layers[name]
        views = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
        views = views[:, ::stride, ::stride]  # (N, h, w, in, side, side)
        if out:
            kernel = weights[kind].transpose(2, 0, 1, 3).reshape(-1, out)
            return views.reshape(*views.shape[:3], -1) @ kernel + weights.get("bias", 0)
        return np.einsum("nhwcij,ijc->nhwc", views, weights[kind][..., 0])

    def norm(self, x: Any, name: str, epsilon: float) -> np.ndarray:
        if name not in self.layers:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            self.layers[name] = {
                "gamma": np.random.uniform(0.5, 1, mean.shape),
                "beta": np.random.uniform(-0.3, 0.5, mean.shape),
                "moving_mean": mean + 0.1 * np.random.randn(*mean.shape),
                # Of all channels, for few pixels tell little of one.
                "moving_variance": variance.mean() * np.random.uniform(0.5, 1.5, mean.shape),
            }
        w = self.layers[name]
        centred = x - w["moving_mean"]
        return w["gamma"] * centred / np.sqrt(w["moving_variance"] + epsilon) + w["beta"]


def padded(x: np.ndarray, *sides: Tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), *sides, (0, 0)))


def same(x: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's padding of that name for kernels of 3x3: what is odd goes to the end."""
    total = [max((-(-n // stride) - 1) * stride + 3 - n, 0) for n in x.shape[1:3]]
    return padded(x, *((t // 2, t - t // 2) for t in total))


def resnet50(net: Network, pictures: np.ndarray) -> np.ndarray:
    def both(x: Any, name: str, out: int, side: int = 1, stride: int = 1) -> np.ndarray:
        return net.norm(
            net.conv(x, f"{name}_conv", out, side, stride, True), f"{name}_bn", 1.001e-5
        )

    relu = lambda x: np.maximum(x, 0)
    x = pictures[..., ::-1] - np.array([103.939, 116.779, 123.68])
    x = relu(both(padded(x, (3, 3), (3, 3)), "conv1", 64, 7, 2))
    x = padded(x, (1, 1), (1, 1))
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max(axis=(4, 5))
    for stage, count in enumerate((3, 4, 6, 3)):
        for number in range(count):
            name, width = f"conv{stage + 2}_block{number + 1}", 64 << stage
            stride = 2 if stage and not number else 1
            y = relu(both(x, f"{name}_1", width, 1, stride))
            y = relu(both(padded(y, (1, 1), (1, 1)), f"{name}_2", width, 3))
            if not number:
                x = both(x, f"{name}_0", 4 * width, 1, stride)
            x = relu(x + both(y, f"{name}_3", 4 * width))
    return x


def mobilenet_v2(net: Network, pictures: np.ndarray) -> np.ndarray:
    six = lambda x: np.clip(x, 0, 6)
    norm = lambda x, name: net.norm(x, name, 1e-3)
    x = six(norm(net.conv(same(pictures / 127.5 - 1, 2), "Conv1", 32, 3, 2), "bn_Conv1"))
    rows = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    blocks = [(out, step if not k else 1) for out, count, step in rows for k in range(count)]
    for number, (out, stride) in enumerate(blocks):
        name, y = f"block_{number}_" if number else "expanded_conv_", x
        if number:
            y = net.conv(y, f"{name}expand", 6 * x.shape[-1], 1)
            y = six(norm(y, f"{name}expand_BN"))
        y = net.conv(same(y, stride), f"{name}depthwise", 0, 3, stride)
        y = six(norm(y, f"{name}depthwise_BN"))
        y = norm(net.conv(y, f"{name}project", out, 1), f"{name}project_BN")
        x = x + y if stride == 1 and y.shape == x.shape else y
    return six(norm(net.conv(x, "Conv_1", 1280, 1), "Conv_1_bn"))


NETWORKS: Dict[str, Callable[[Network, np.ndarray], np.ndarray]] = {
    RESNET: resnet50,
    MOBILENET: mobilenet_v2,
}


def save(file: Path, layers: Layers, kind: str = "weights") -> str:
    """As Keras 2 writes weights, a whole model or one inside another, or as Keras 3 does."""
    flat = [(layer, kind, array) for layer, held in layers.items() for kind, array in held.items()]
    with h5py.File(file, "w") as store:
        root = (
            store.create_group("model_weights") if kind in ("model", "inner", "keras 3") else store
        )
        places: Dict[str, list] = {"input_1": []}
        for layer, name, array in flat:
            path = f"{layer}/{name}" + ":0" * (kind != "keras 3")
            path = path.replace("depthwise_kernel", "kernel") if kind == "keras 3" else path
            holder = "backbone" if kind == "inner" else layer
            places.setdefault(holder, []).append((path, array))
        if kind == "inner":  # what is trained comes first
            places["backbone"].sort(key=lambda place: "moving" in place[0])
        root.attrs["layer_names"] = [name.encode() for name in places]
        for layer, held in places.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [path.encode() for path, _ in held]
            for path, array in held:
                group[path] = array.astype("float32")
    return str(file)


def made(name: str, pictures: np.ndarray) -> Tuple[Layers, np.ndarray]:
    """Layers of a network whose statistics fit its pictures, and its features (N, C, h, w)."""
    net = Network()
    NETWORKS[name](net, pictures)
    head = dict(kernel=np.zeros((8, 5)), bias=np.zeros(5))
    layers = {**net.layers, "predictions": head}
    return layers, NETWORKS[name](net, pictures).transpose(0, 3, 1, 2)


def photos(height: int, width: int) -> np.ndarray:
    return np.random.uniform(0, 255, (2, height, width, 3))


def normalised(pictures: np.ndarray) -> nd.NDArray:
    return nd.array(((pictures / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "kind", "sides"),
    [
        (RESNET, "weights", (50, 75)),
        (MOBILENET, "weights", (64, 64)),
        (MOBILENET, "model", (67, 94)),  # odd and even sides in turns on the way down
        (MOBILENET, "inner", (96, 65)),
        (MOBILENET, "keras 3", (64, 32)),
    ],
)
def test_features_are_those_of_keras(
    name: str, kind: str, sides: Tuple[int, int], tmp_path: Path
) -> None:
    pictures = photos(*sides)
    layers, wanted = made(name, pictures)
    net = backbone(name)
    load_backbone(net, save(tmp_path / "x.h5", layers, kind))
    net.hybridize()
    found = net(normalised(pictures)).asnumpy()
    assert found.shape == wanted.shape and wanted.std() > 0.1
    print(name, kind, abs(found - wanted).max() / abs(wanted).max())
    assert abs(found - wanted).max() < 1e-4 * abs(wanted).max()


def test_epsilons_are_those_of_keras() -> None:
    for name, epsilon in ((RESNET, 1.001e-5), (MOBILENET, 1e-3)):
        found = {block._kwargs["eps"] for block in norms(backbone(name))}
        assert found == {epsilon}


def norms(block: gluon.Block) -> List[gluon.Block]:
    found = [block] if isinstance(block, gluon.nn.BatchNorm) else []
    return found + [norm for child in block._children.values() for norm in norms(child)]


@pytest.mark.slow
def test_a_network_of_it_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    net = get_model("racnn_mobilenet_v2", 4, backbone=MOBILENET, crops=(48,), shrink=1, shared=True)
    net.initialize(net.initializer)
    layers, _ = made(MOBILENET, photos(64, 64))
    load_backbone(net.body.backbones[0], save(tmp_path / "x.h5", layers))
    net(nd.zeros((1, 3, 64, 64)))
    assert export_onnx(net, str(tmp_path / "x.onnx"), (3, 64, 64)).largest < 1e-4


def spoiled(kind: str, layers: Layers) -> Layers:
    """The same network, or nearly, with small arrays where sizes do not matter."""
    layers = {layer: dict(held) for layer, held in layers.items()}
    if kind == "lacking":
        del layers["bn_Conv1"]["beta"]
    elif kind == "longer":
        layers["block_17_expand"] = layers["block_16_expand"]
    elif kind == "wider":
        layers["Conv1"] = dict(kernel=np.zeros((3, 3, 3, 48)))
    elif kind == "other":
        layers = {"res2a_branch2a": layers["Conv1"]}
    elif kind == "twice":
        layers["a/Conv1"] = layers["Conv1"]
    return layers


@pytest.fixture(scope="module")
def layers() -> Layers:
    return made(MOBILENET, photos(32, 32))[0]


def test_names_of_mobilenet_v2_are_not_asked_for(layers: Layers, tmp_path: Path) -> None:
    """The files that Keras fetches have others than its layers, which it fills by their order."""
    features = []
    for given in (layers, {f"layer_{k}": held for k, held in enumerate(layers.values())}):
        net = backbone(MOBILENET)
        load_backbone(net, save(tmp_path / "x.h5", given))
        features.append(net(nd.ones((1, 3, 32, 32))).asnumpy())
    np.testing.assert_array_equal(*features)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("good", "mobilenetv2_1.0", f"does not fit: .* take backbone '{MOBILENET}'"),
        ("good", RESNET, f"take backbone '{MOBILENET}'"),
        ("lacking", MOBILENET, "has no 'bn_Conv1/beta'"),
        ("longer", MOBILENET, "it has 105 layers where MobileNetV2 has 104"),
        ("wider", MOBILENET, r"'0.weight' is \(48, 3, 3, 3\)"),
        ("other", MOBILENET, "no MobileNetV2, and no ResNet50 of today's names"),
        ("twice", MOBILENET, "it has 'Conv1/kernel' twice"),
        ("whole", MOBILENET, "'Conv1/kernel' is no array of real numbers"),
        ("elsewhere", MOBILENET, "'Conv1/kernel' is no array of real numbers in this file"),
        ("huge", MOBILENET, "'Conv1/kernel' is no array of real numbers in this file"),
        ("bare", MOBILENET, "HDF5 without layer_names"),
        ("cut", MOBILENET, "cut off or damaged"),
        ("without h5py", MOBILENET, r"pip install -e '.\[keras\]'"),
    ],
)
def test_mistakes(
    kind: str, name: str, sentence: str, layers: Layers, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "x.h5"
    save(file, spoiled(kind, layers))
    with h5py.File(file, "a") as store:
        group = store["Conv1"] if "Conv1" in store else store
        if kind in ("whole", "elsewhere", "huge"):
            del group["Conv1/kernel:0"]
        if kind == "whole":
            group["Conv1/kernel:0"] = np.zeros((3, 3, 3, 32), "int32")
        elif kind == "elsewhere":
            save(tmp_path / "y.h5", {"Conv1": layers["Conv1"]})
            group["Conv1/kernel:0"] = h5py.ExternalLink("y.h5", "Conv1/Conv1/kernel:0")
        elif kind == "huge":  # of which nothing is written
            group.create_dataset("Conv1/kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1, 64))
        elif kind == "bare":
            del store.attrs["layer_names"]
    if kind == "cut":
        file.write_bytes(file.read_bytes()[: 1 << 20])
    if kind == "without h5py":
        monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=sentence) as told:
        load_backbone(backbone(name), str(file))
    assert "x.h5" in str(told.value) and "\n" not in str(told.value)


def test_weights_of_torchvision_are_refused() -> None:
    with pytest.raises(UserError, match="take one without '_keras'"):
        backbone_arrays(backbone(MOBILENET), Supply({}))
