"""Residual attention networks of four sources: every tensor has a place, and the same logits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop.checkpoints import convert_tensors, format_of
from gluon_attention.interop.residual_attention import fused_options

import numpy as np
import pytest
from foreign_states import NORM, State, arrays_of, import_gluoncv, with_statistics
from mxnet import gluon, nd

UNIT = [f"bn{n}.{kind}" for n in (1, 2, 3) for kind in NORM]
UNIT += [f"conv{n}.weight" for n in (1, 2, 3, 4)]
GATE = [f"{n}.{kind}" for n in (0, 3) for kind in NORM] + ["2.weight", "5.weight"]
SMALL = "cifar_residualattentionnet56"


def module_names(depth: int, small: bool) -> Iterator[Tuple[str, List[str]]]:
    """Blocks of tengshaofeng's attention module, and the parameters in each."""
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


def tengshaofeng_names(stages: List[Tuple[int, int]], small: bool) -> List[str]:
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
def test_every_tensor_of_tengshaofeng_has_a_place(name: str, stages: Any, small: bool) -> None:
    names = tengshaofeng_names(stages, small)
    assert len(names) == len(set(names))
    tensors = dict.fromkeys(names, np.zeros((10, 1)))
    net, form = get_model(name, mask_fusion="gluoncv"), format_of(tensors)
    arrays, unused = convert_tensors(form, net, tensors)
    assert set(arrays) == set(net._collect_params_with_prefix())
    unused = [name for name in unused if not name.endswith("num_batches_tracked")]
    projections = len(stages) + 1  # units that change the size use the fourth convolution
    assert all(name.endswith("conv4.weight") for name in unused)
    assert len(unused) == sum(name.endswith("conv4.weight") for name in names) - projections


def test_a_stem_of_5x5_is_refused() -> None:
    names = tengshaofeng_names([(2, 1), (1, 2), (0, 3)], small=True)
    tensors = dict.fromkeys(names, np.zeros((10, 1)))
    tensors["conv1.0.weight"] = np.zeros((32, 3, 5, 5))
    net = get_model("cifar_residual_attention92", mask_fusion="gluoncv")
    with pytest.raises(UserError, match="5x5 with pooling"):
        convert_tensors(format_of(tensors), net, tensors)


# `softmax*_blocks` of GluonCV by stage, in tengshaofeng's small network.
NAMED = {
    "softmax1_blocks": ("down_residual_blocks1", "middle_2r_blocks", "middle_2r_blocks"),
    "softmax2_blocks": ("middle_2r_blocks", "conv1_1_blocks", "conv1_1_blocks"),
    "softmax3_blocks": ("up_residual_blocks1", None, None),
    "softmax4_blocks": ("conv1_1_blocks", None, None),
}


def renamed_module(name: str, block_name: Callable[[int, str], str]) -> str:
    """`attention_module2.1.trunk_branches.0` as `attention_module2_2.trunk_branches.0`."""
    match = re.match(r"attention_module(\d)\.(\d)\.(\w+)(.*)", name)
    if not match:
        return name
    stage, number, rest = int(match[1]), int(match[2]), match[4]
    block = block_name(stage, match[3])
    alone = block in ("first_residual_blocks", "last_blocks") or block.endswith("_blocks1")
    rest = re.sub(r"^\.0\.", ".", rest) if alone else rest
    return f"attention_module{stage}" + ("", f"_{number + 1}")[number > 0] + f".{block}{rest}"


def tengshaofeng_state(source: gluon.Block) -> State:
    """GluonCV's small network as tengshaofeng's saves it, with what that does not use."""
    state = {}
    for name, array in arrays_of(source).items():
        array = array[:, :, 0, 0] if name.startswith("fc.") and array.ndim == 4 else array
        name = renamed_module(name, lambda stage, b: NAMED[b][stage - 1] if b in NAMED else b)
        name = re.sub(r"downsample\.weight$", "conv4.weight", name)
        name = re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name))
        state[name] = array
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = np.array(9, "i8")
        if name.endswith("conv3.weight"):
            state.setdefault(name.replace("conv3", "conv4"), np.zeros((2, 2, 1, 1), "f4"))
    return state


@pytest.fixture(scope="module")
def source() -> gluon.Block:
    """A small network of GluonCV's with three classes."""
    net = import_gluoncv().model_zoo.get_model(SMALL, classes=3)
    return with_statistics(net, 8, 3, 32, 32)


def images() -> nd.NDArray:
    return nd.random.normal(shape=(2, 3, 32, 32))


def assert_same_logits(net: gluon.Block, other: gluon.Block) -> None:
    batch = images()
    np.testing.assert_allclose(net(batch).asnumpy(), other(batch).asnumpy(), 1e-3, 1e-5)


def test_tengshaofeng_gives_the_same_logits(source: Any, torch_files: Any, tmp_path: Path) -> None:
    state = {f"module.{name}": array for name, array in tengshaofeng_state(source).items()}
    file = torch_files.save(tmp_path / "model.pkl", state, old=True)
    net = get_model("cifar_residual_attention56", classes=3, mask_fusion="gluoncv")
    report = load_weights(net, file)
    pixels = dict(mean=(0, 0, 0), std=(1, 1, 1))  # the source normalises nothing
    assert format_of(tengshaofeng_state(source)).data(net) == pixels
    assert report.parameters == report.tensors - len(report.unused)
    assert_same_logits(net, source)
    other = get_model("cifar_residual_attention56", classes=4, mask_fusion="gluoncv")
    load_weights(other, file, new_head=True)
    assert other(images()).shape == (2, 4)
    plain = get_model("cifar_residual_attention56", classes=3)
    with pytest.raises(UserError, match="need a net with mask_fusion='gluoncv'"):
        load_weights(plain, file)
    load_weights(plain, file, overrides=("mask_fusion",))  # trained without the additions
    local = get_model("cifar_residual_attention56", classes=3, mask_fusion="gluoncv", mask="local")
    with pytest.raises(UserError, match="need a net with mask='encoder_decoder'"):
        load_weights(local, file)
    state["module.attention_module1.extra.weight"] = np.zeros((1,), "f4")
    with pytest.raises(UserError, match="attention_module1.extra.weight.*the net lacks"):
        load_weights(net, torch_files.save(tmp_path / "model.pkl", state))
    del state["module.attention_module1.extra.weight"], state["module.conv1.1.bias"]
    with pytest.raises(UserError, match="has no 'body.stem.1.beta', which the net has"):
        load_weights(net, torch_files.save(tmp_path / "model.pkl", state))


def saved(folder: Path, state: State) -> str:
    nd.save(str(folder / "x.params"), {name: nd.array(array) for name, array in state.items()})
    return str(folder / "x.params")


def test_pistony_gives_the_same_logits(source: Any, tmp_path: Path) -> None:
    state = {}
    for name, array in arrays_of(source).items():
        name = renamed_module(name, lambda stage, block: block)
        # A stack of one unit has no number there.
        name = re.sub(r"^(attention_module1\.softmax[13]_blocks)\.0\.", r"\1.", name)
        name = re.sub(r"downsample\.weight$", "conv4.weight", name)
        state[name] = array
    net = get_model(SMALL, classes=3)
    report = load_weights(net, saved(tmp_path, state))
    assert report.origin.startswith("PistonY") and report.unused == []
    assert_same_logits(net, source)
    for name, match in (
        ("residual_block0.conv1.weight", "uses a block twice"),
        ("residual_block1.downsample.weight", "residual_block1.downsample.weight.*the net lacks"),
    ):
        twice = {**state, name: np.zeros((2, 2, 1, 1), "f4")}
        with pytest.raises(UserError, match=match):
            load_weights(net, saved(tmp_path, twice))
    with pytest.raises(UserError, match="it has no matrix 'fc.weight'"):
        fused_options({"fc.weight": np.zeros((3, 4, 3, 3))})


def haoxintong_name(name: str, depths: Dict[str, int]) -> str:
    """The source's name of a parameter of `cifar_residual_attention56_deep`."""
    match = re.match(r"body\.steps\.(\d+)\.(.*)", name)
    if not match:
        return (
            name.replace("body.stem.", "features.")
            .replace("body.head.0", "features.12")
            .replace("body.head.3", "output")
        )
    index, rest = match[1], match[2]
    prefix = f"features.{int(index) + 3}."
    if index not in depths:
        return prefix + rest
    rest = re.sub(r"^before\.", "pre.", rest)
    rest = re.sub(r"^trunk\.", "trunk_branch.", rest)
    rest = re.sub(r"^after\.", "post.", rest)
    rest = re.sub(r"^gate\.", "mask_branch.output.", rest)
    mask = re.match(r"mask((?:\.inner)*)\.(down|up|skip)\.(.*)", rest)
    if not mask:
        return prefix + rest
    level = 4 - depths[index] + mask[1].count("inner")
    block, inner = mask[2], mask[3]
    if block == "skip":
        return f"{prefix}mask_branch.skip_connection_{level}.{inner}"
    if level == 3 and block == "down" and inner.startswith("1."):  # the second unit of the lowest
        block, inner = "up", f"0{inner[1:]}"
    return f"{prefix}mask_branch.{block}_res_unit_{level}.{inner}"


def test_haoxintong_gives_the_same_logits(tmp_path: Path) -> None:
    name = "cifar_residual_attention56_deep"
    original = with_statistics(get_model(name, classes=3), 8, 3, 32, 32)
    depths = {"1": 3, "3": 2, "5": 1}  # of masks, by the step that the module is
    arrays = arrays_of(original)
    state = {haoxintong_name(name, depths): array for name, array in arrays.items()}
    assert len(state) == len(arrays) == 540
    assert "features.6.mask_branch.up_res_unit_3.0.conv1.weight" in state
    file = saved(tmp_path, state)
    net = get_model(name, classes=3)
    assert load_weights(net, file).origin == "haoxintong's AttentionNet"
    assert_same_logits(net, original)
    with pytest.raises(UserError, match="need a net with mask_fusion='none'"):
        load_weights(get_model(name, classes=3, mask_fusion="gluoncv"), file)


def test_gluoncv_gives_the_same_logits(source: Any, tmp_path: Path) -> None:
    file = saved(tmp_path, arrays_of(source))
    net = get_model(SMALL, classes=3)
    assert load_weights(net, file).origin == "GluonCV"
    assert_same_logits(net, source)
    with pytest.raises(UserError, match="need a net with mask_fusion='gluoncv'"):
        load_weights(get_model("cifar_residual_attention56", classes=3), file)
    with pytest.raises(UserError, match=r"\(GluonCV\) and \(10, any\) in the net"):
        load_weights(get_model(SMALL), file)
    with pytest.raises(UserError, match=r"\(GluonCV\) has no 'body.steps.4"):
        load_weights(get_model("cifar_residualattentionnet92", classes=3), file)
    with pytest.raises(UserError, match="weights of GluonCV, and the net is a Dense"):
        load_weights(gluon.nn.Dense(3), file)
    fine_tuned = get_model(SMALL, classes=4)
    load_weights(fine_tuned, file, new_head=True)
    assert fine_tuned(images()).shape == (2, 4)
