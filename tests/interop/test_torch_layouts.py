"""Public PyTorch layouts: every tensor finds its place, and the numbers are those of the source.

The checkpoints are written here, with the names that the public networks give their layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop.checkpoints import layout_of
from gluon_attention.interop.load import fill
from gluon_attention.interop.tensor_table import TensorTable
from gluon_attention.interop.torch_networks import residual_arrays
from gluon_attention.ops.attention_crop import clamped_box, pixel_crop

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd

State = Dict[str, np.ndarray]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
UNIT = [f"bn{n}.{kind}" for n in (1, 2, 3) for kind in NORM]
UNIT += [f"conv{n}.weight" for n in (1, 2, 3, 4)]
GATE = [f"{n}.{kind}" for n in (0, 3) for kind in NORM] + ["2.weight", "5.weight"]


def module_names(depth: int, small: bool) -> Iterator[Tuple[str, List[str]]]:
    """Blocks of an attention module, and the parameters in each."""
    pair = [f"{n}.{name}" for n in (0, 1) for name in UNIT]
    yield from (("first_residual_blocks", UNIT), ("trunk_branches", pair), ("last_blocks", UNIT))
    between = range(1, depth)
    yield from ((f"skip{n}_connection_residual_block", UNIT) for n in between)
    if small:
        yield from ((f"{way}_residual_blocks{n}", UNIT) for n in between for way in ("down", "up"))
        yield from (("middle_2r_blocks", pair), ("conv1_1_blocks", GATE))
    else:
        for n in range(1, 2 * depth):
            yield f"softmax{n}_blocks", pair if n == depth else UNIT
        yield f"softmax{2 * depth}_blocks", GATE


def residual_names(stages: List[Tuple[int, int]], small: bool) -> List[str]:
    """Of a whole network; a stage is the depth of its masks and how many modules it has."""
    names = ["conv1.0.weight", "fc.weight", "fc.bias"]
    names += [f"{norm}.{kind}" for norm in ("conv1.1", "mpool2.0") for kind in NORM]
    first = 4 - len(stages)
    for stage in range(first, 7):
        names += [f"residual_block{stage}.{name}" for name in UNIT]
    for stage, (depth, modules) in enumerate(stages, first):
        for number in range(1, modules + 1):
            module = f"attention_module{stage}" + ("", f"_{number}")[number > 1]
            for block, inner in module_names(depth, small):
                names += [f"{module}.{block}.{name}" for name in inner]
    return names


@pytest.mark.parametrize(
    "name, stages, small",
    [
        ("residual_attention56", [(3, 1), (2, 1), (1, 1)], False),
        ("residual_attention92", [(3, 1), (2, 2), (1, 3)], False),
        ("residual_attention92_448", [(4, 1), (3, 1), (2, 2), (1, 3)], False),
        ("cifar_residual_attention92", [(2, 1), (1, 2), (0, 3)], True),
    ],
)
def test_names_of_residual_attention(name: str, stages: Any, small: bool) -> None:
    names = residual_names(stages, small)
    assert len(names) == len(set(names))
    net, supply = get_model(name, mask_fusion="gluoncv"), TensorTable(dict.fromkeys(names))
    arrays = residual_arrays(net, supply, {})
    assert set(arrays) == set(net._collect_params_with_prefix())
    unused = [n for n in supply.left if not n.endswith("num_batches_tracked")]
    changes = len(stages) + 1  # units that change the size do use the fourth convolution
    assert all(n.endswith("conv4.weight") for n in unused)
    assert len(unused) == sum(n.endswith("conv4.weight") for n in names) - changes


def to_torch(theirs: gluon.Block) -> State:
    """A small net of GluonCV's with the names of ref `_92_32input_update`, with what it wastes."""
    state = {}
    parts = {
        "softmax1_blocks": ("middle_2r_blocks", "middle_2r_blocks", "down_residual_blocks1"),
        "softmax2_blocks": ("conv1_1_blocks", "conv1_1_blocks", "middle_2r_blocks"),
        "softmax3_blocks": (None, None, "up_residual_blocks1"),
        "softmax4_blocks": (None, None, "conv1_1_blocks"),
    }
    for name, parameter in theirs._collect_params_with_prefix().items():
        array = parameter.data().asnumpy()
        if name.startswith("fc.") and array.ndim == 4:
            array = array[:, :, 0, 0]
        match = re.match(r"attention_module(\d)\.(\d)\.(\w+)(.*)", name)
        if match:
            stage, number, block, rest = int(match[1]), int(match[2]), match[3], match[4]
            block = parts[block][3 - stage] if block in parts else block
            alone = block in ("first_residual_blocks", "last_blocks") or block[-8:] == "_blocks1"
            rest = re.sub(r"^\.0\.", ".", rest) if alone else rest
            name = f"attention_module{stage}" + ("", f"_{number + 1}")[number > 0]
            name = f"{name}.{block}{rest}"
        name = re.sub(r"downsample\.weight$", "conv4.weight", name)
        name = re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name))
        state[name] = array
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = np.array(9, "i8")
        if name.endswith("conv3.weight"):
            state.setdefault(name.replace("conv3", "conv4"), np.zeros((2, 2, 1, 1), "f4"))
    return state


def random_parameters(net: gluon.Block, shape: Tuple[int, ...]) -> gluon.Block:
    net.initialize(mx.init.MSRAPrelu())
    with mx.autograd.record():
        net(nd.random.normal(shape=(8, *shape[1:])))
    for name, parameter in net.collect_params().items():
        if not name.endswith("weight"):
            parameter.set_data(parameter.data() + nd.random.uniform(0, 0.3, shape=parameter.shape))
    return net


def test_residual_attention_equals_gluoncv(torch_files: Any, tmp_path: Path) -> None:
    import gluoncv

    theirs = gluoncv.model_zoo.get_model("cifar_residualattentionnet56", classes=3)
    images = nd.random.normal(shape=(2, 3, 32, 32))
    random_parameters(theirs, images.shape)
    state = {f"module.{name}": array for name, array in to_torch(theirs).items()}
    file = torch_files.save(tmp_path / "model.pkl", state, old=True)
    net = get_model("cifar_residual_attention56", classes=3, mask_fusion="gluoncv")
    filled = fill(net, file)
    assert filled.parameters == filled.tensors - len(filled.unused)
    np.testing.assert_allclose(net(images).asnumpy(), theirs(images).asnumpy(), 1e-3, 1e-5)
    other = get_model("cifar_residual_attention56", classes=4, mask_fusion="gluoncv")
    load_weights(other, file, new_head=True)
    assert other(images).shape == (2, 4)
    with pytest.raises(UserError, match="only in a net with mask_fusion='gluoncv'"):
        load_weights(get_model("cifar_residual_attention56", classes=3), file)
    state["module.attention_module1.extra.weight"] = np.zeros((1,), "f4")
    with pytest.raises(UserError, match="attention_module1.extra.weight.*no place"):
        load_weights(net, torch_files.save(tmp_path / "model.pkl", state))
    del state["module.attention_module1.extra.weight"], state["module.conv1.1.bias"]
    with pytest.raises(UserError, match="has no 'body.stem.1.beta', which the net has"):
        load_weights(net, torch_files.save(tmp_path / "model.pkl", state))


def linear(state: State, name: str, outputs: int, inputs: int, scale: float = 0.1) -> None:
    state[f"{name}.weight"] = (np.random.randn(outputs, inputs) * scale).astype("f4")
    state[f"{name}.bias"] = (np.random.randn(outputs) * scale).astype("f4")


def ram_state(pixels: int, classes: int = 10) -> State:
    state: State = {}
    linear(state, "sensor.fc1", 128, pixels)
    linear(state, "sensor.fc2", 128, 2, 1.0)
    for name in ("sensor.fc3", "sensor.fc4"):
        linear(state, name, 256, 128)
    for name in ("rnn.i2h", "rnn.h2h"):
        linear(state, name, 256, 256, 0.05)
    linear(state, "locator.fc", 128, 256)
    linear(state, "locator.fc_lt", 2, 128, 0.3)
    linear(state, "classifier.fc", classes, 256)
    linear(state, "baseliner.fc", 1, 256)
    return state


def ram_answers(
    state: State, images: np.ndarray, patch: int, scales: int, steps: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Logits and locations of the public network with no noise, from the middle."""

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def window(image: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
        column, row = (0.5 * ((place + 1) * image.shape[1])).astype(int)
        around = np.pad(image, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        cut = around[:, row : row + size, column : column + size]
        pitch = size // patch
        return cut.reshape(-1, patch, pitch, patch, pitch).mean(axis=(2, 4)).ravel()

    relu = lambda x: np.maximum(x, 0)
    place, hidden, places = np.zeros((len(images), 2)), np.zeros((len(images), 256)), []
    for _ in range(steps):
        places.append(place)
        sizes = [patch * 2**k for k in range(scales)]
        pairs = zip(images, place)
        seen = np.stack([np.concatenate([window(i, p, s) for s in sizes]) for i, p in pairs])
        what, where = relu(layer("sensor.fc1", seen)), relu(layer("sensor.fc2", place))
        both = relu(layer("sensor.fc3", what) + layer("sensor.fc4", where))
        hidden = relu(layer("rnn.i2h", both) + layer("rnn.h2h", hidden))
        place = np.tanh(layer("locator.fc_lt", relu(layer("locator.fc", hidden))))
    return layer("classifier.fc", hidden), np.stack(places, 1)


@pytest.mark.parametrize(
    "name, side, patch, scales", [("ram_28", 28, 8, 1), ("ram_translated_60", 60, 12, 3)]
)
def test_ram_looks_where_and_answers_what_the_source_does(
    name: str, side: int, patch: int, scales: int, torch_files: Any, tmp_path: Path
) -> None:
    state, images = ram_state(scales * patch**2), np.random.randn(20, 1, side, side)
    file = torch_files.save(tmp_path / "ckpt.pth.tar", {"epoch": 1, "model_state": state})
    options = layout_of(state).options(state)
    net = get_model(name, **options)
    assert fill(net, file)[1:] == (20, [], 18)
    trace, (logits, places) = (
        net.trace(nd.array(images)),
        ram_answers(state, images, patch, scales, 6),
    )
    assert np.abs(places[:, 1:]).max() > 0.5
    np.testing.assert_allclose(trace.locations.asnumpy(), places, 1e-3, 1e-4)
    np.testing.assert_allclose(trace.logits.asnumpy(), logits, 1e-3, 1e-3)
    with pytest.raises(UserError, match="only in a net with retina='pixels'"):
        load_weights(get_model(name), file)
    with pytest.raises(UserError, match="PyTorch's RecurrentAttention.*is a ResidualAttention"):
        load_weights(get_model("cifar_residual_attention56_slim"), file)
    state["rnn.h2h.bias"] = state["rnn.h2h.bias"][:7]
    with pytest.raises(UserError, match=r"'rnn.h2h.bias' is \(7,\) and has to be \(256,\)"):
        load_weights(net, torch_files.save(tmp_path / "x", state))
    del state["rnn.h2h.bias"]
    with pytest.raises(UserError, match="has no 'rnn.h2h.bias'"):
        load_weights(net, torch_files.save(tmp_path / "x", state))


def test_whole_pixels_of_a_box(hybridize: bool) -> None:
    """Boxes that are free, clamped to the border, and the whole image, in numpy."""
    free = np.array([[0.3, -0.2, 0.1], [9, -9, -9], [-1, 2, 9], [0.5, 0.5, -0.5]], "f4")
    images = np.random.randn(4, 3, 31, 40).astype("f4")
    net = gluon.nn.HybridLambda(
        lambda F, x, y: pixel_crop(F, x, clamped_box(F, y, 2 / 3, 2), (12, 17))
    )
    net.hybridize(hybridize)
    found = net(nd.array(images), nd.array(free)).asnumpy()
    for image, raw, crop in zip(images, 1 / (1 + np.exp(-free.astype("f8"))), found):
        spans, faded = [], image.astype("f8")
        for axis, length in ((1, 31), (0, 40)):
            half = max(raw[2] * length, length / 3)
            middle = min(max(raw[axis] * length, half), length - half)
            low, high = int(max(middle - half, 0)), int(min(middle + half + 1e-9, length))
            places, shape = np.arange(length), (-1, 1) if axis else (1, -1)
            fade = lambda edge, at=places: 1 / (1 + np.exp(np.clip(10 * (edge - at), -500, 500)))
            faded = faded * (fade(low) - fade(high)).reshape(shape)
            spans.append(np.linspace(low, high - 1, 12 if axis else 17))
        rows, columns = (np.floor(span + 1e-9).astype(int) for span in spans)
        part = [(span - start) for span, start in zip(spans, (rows, columns))]
        below, right = np.minimum(rows + 1, 30), np.minimum(columns + 1, 39)
        top = faded[:, rows][:, :, columns] * (1 - part[1]) + faded[:, rows][:, :, right] * part[1]
        low_ = (
            faded[:, below][:, :, columns] * (1 - part[1]) + faded[:, below][:, :, right] * part[1]
        )
        wanted = top * (1 - part[0][:, None]) + low_ * part[0][:, None]
        np.testing.assert_allclose(crop, wanted, 1e-3, 1e-3)
