"""Files of weights that fit a network are loaded, others are refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.zoo import pretrained
from gluon_attention.zoo.backbones import Backbone
from gluon_attention.zoo.freezing import walk_blocks

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

SMALL = "cifar_residual_attention56_slim"


def trained(name: str = SMALL, **options: Any) -> Any:
    """A net whose every parameter differs from what initialisation gives."""
    net = get_model(name, **options)
    net.infer_shape(nd.zeros((1, 3, 32, 32)))
    for parameter in net.collect_params().values():
        parameter.initialize(mx.init.Uniform(0.1))
        parameter.set_data(nd.random.uniform(0, 1, shape=parameter.shape))
    return net


def saved(net: Any, folder: Path, name: str = "net.params") -> str:
    net.save_parameters(str(folder / name))
    return str(folder / name)


def same(one: Any, other: Any, tolerance: float = 0) -> bool:
    pairs = zip(one.collect_params().values(), other.collect_params().values())
    return all(
        np.allclose(a.list_data()[0].asnumpy(), b.list_data()[0].asnumpy(), 0, tolerance)
        for a, b in pairs
    )


def test_a_saved_file_is_loaded(tmp_path: Path) -> None:
    net = trained()
    fresh = get_model(SMALL)
    load_weights(fresh, saved(net, tmp_path))
    assert same(net, fresh)
    load_weights(net, saved(trained(), tmp_path))  # into one that has parameters already
    assert not same(net, fresh)


def test_float16_is_cast_to_the_type_of_the_net(tmp_path: Path) -> None:
    net = trained()
    arrays = nd.load(saved(net, tmp_path))
    nd.save(str(tmp_path / "half"), {k: v.astype("float16") for k, v in arrays.items()})
    fresh = get_model(SMALL)
    load_weights(fresh, str(tmp_path / "half"), ctx=[mx.cpu(0), mx.cpu(1)])
    parameters = fresh.collect_params().values()
    assert all(p.data(mx.cpu(1)).dtype == np.float32 for p in parameters)
    assert same(net, fresh, tolerance=1e-3) and not same(net, fresh)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = Path(saved(trained(), tmp_path))
    whole, net = file.read_bytes(), get_model(SMALL)
    for content in (whole[: len(whole) // 2], whole[:7], b"", b"not a file of parameters" * 9):
        file.write_bytes(content)
        with pytest.raises(UserError, match="holds no named parameters") as error:
            load_weights(net, str(file))
        assert "\n" not in str(error.value)
    nd.save(str(file), [nd.zeros((2,))])
    with pytest.raises(UserError, match="holds no named parameters"):
        load_weights(net, str(file))
    with pytest.raises(UserError, match="is not a file"):
        load_weights(net, str(tmp_path / "absent.params"))


def test_the_first_mismatch_is_named(tmp_path: Path) -> None:
    file = saved(trained(classes=7), tmp_path)
    with pytest.raises(
        UserError, match=r"'body.head.3.weight' is \(7, 256\) .* \(10, any\) in the"
    ):
        load_weights(get_model(SMALL), file)
    trained(classes=7).collect_params().save(str(tmp_path / "flat.params"))
    with pytest.raises(UserError, match="save with net.save_parameters"):
        load_weights(get_model(SMALL, classes=7), str(tmp_path / "flat.params"))
    nd.save(str(tmp_path / "graph-0000.params"), {"arg:dense0_weight": nd.ones((1, 1))})
    with pytest.raises(UserError, match="part of an exported graph: give the name, file or run"):
        load_weights(get_model(SMALL), str(tmp_path / "graph-0000.params"))
    with pytest.raises(
        UserError, match="has 'body.steps.2.after.0.bn1.gamma', which the net lacks; build the n"
    ):
        load_weights(_without_a_unit(), file)
    with pytest.raises(UserError, match="has no 'body.steps.3..*', which the net has"):
        load_weights(get_model("cifar_residual_attention92_slim", classes=7), file)


def _without_a_unit() -> Any:
    """The small net without the last unit of its first module."""
    net = get_model(SMALL, classes=7)
    module = net.body.steps[2]
    module.after._children.clear()
    return net


@pytest.fixture()
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the weights that ship with the package."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(pretrained, "SHIPPED", str(folder))
    return folder


def store(net: Any, folder: Path, name: str = SMALL) -> None:
    """Put weights into a folder as its index describes them."""
    folder.mkdir(exist_ok=True)
    file = Path(saved(net, folder, f"{name}.params"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = {"file": file.name, "sha256": digest, "classes": net.classes}
    (folder / "index.json").write_text(json.dumps({name: entry}))


def test_pretrained_names(shelf: Path) -> None:
    with pytest.raises(UserError, match=f"no trained weights for '{SMALL}'; no name has weights y"):
        get_model(SMALL, pretrained=True)
    net = trained()
    store(net, shelf)
    assert same(net, get_model(SMALL, pretrained=True))
    with pytest.raises(UserError, match=f"these names have weights: {SMALL}"):
        get_model("cifar_residual_attention92", pretrained=True)
    with pytest.raises(UserError, match="pretrained must be True or False, not 'a.params'; load_w"):
        get_model(SMALL, pretrained="a.params")


def test_weights_for_other_classes_get_a_new_head_only(shelf: Path) -> None:
    shipped = trained()
    store(shipped, shelf)
    net = get_model(SMALL, classes=4, pretrained=True)
    assert net(nd.zeros((1, 3, 32, 32))).shape == (1, 4)
    before, after = (n._collect_params_with_prefix() for n in (shipped, net))
    changed = [n for n in after if after[n].shape != before[n].shape]
    assert changed == ["body.head.3.weight", "body.head.3.bias"]
    assert after[changed[0]].data().asnumpy().std() > 0
    for name in set(after) - set(changed):
        np.testing.assert_array_equal(after[name].data().asnumpy(), before[name].data().asnumpy())
    file = str(shelf / f"{SMALL}.params")
    with pytest.raises(UserError, match="'body.head.3.weight' is .* in the net"):
        load_weights(get_model(SMALL, classes=4), file)
    with pytest.raises(UserError, match="is .* in the net"):  # more is wrong than the classes
        wide = SMALL.replace("_slim", "")
        load_weights(get_model(wide, classes=4), file, new_head=True)


def test_classes_are_those_of_the_weights_unless_given(shelf: Path) -> None:
    store(trained(classes=4), shelf)
    assert get_model(SMALL, pretrained=True).arguments["classes"] == 4
    assert get_model(SMALL, classes=10, pretrained=True).classes == 10
    assert get_model(SMALL).classes == 10
    assert get_model(SMALL, classes=0, pretrained=True).classes == 0


def test_a_new_head_is_initialised_on_both_devices(tmp_path: Path) -> None:
    old, net = get_model("ram_28", classes=7), get_model("ram_28", classes=64)
    devices = [mx.cpu(0), mx.cpu(1)]
    old.initialize(mx.init.Constant(0.5))
    net.initialize(mx.init.Constant(2), ctx=devices)
    load_weights(net, saved(old, tmp_path), ctx=devices, new_head=True)
    bound = np.sqrt(2.34 / ((256 + 64) / 2))  # of RAM's Xavier initialisation
    for device in devices:
        largest = abs(net.body.head.weight.data(device)).max().asscalar()
        assert 0.98 * bound < largest <= bound
        assert (net.body.glimpse.what.weight.data(device) == 0.5).asnumpy().all()


def test_a_folder_of_the_user_comes_first(shelf: Path, tmp_path: Path) -> None:
    shipped, own = trained(), trained(classes=4)
    store(shipped, shelf)
    store(own, tmp_path / "own")
    assert same(own, get_model(SMALL, pretrained=True, root=str(tmp_path / "own")))
    (tmp_path / "empty").mkdir()
    assert same(shipped, get_model(SMALL, pretrained=True, root=str(tmp_path / "empty")))


def test_damaged_shipped_files_are_refused(shelf: Path) -> None:
    store(trained(), shelf)
    file = shelf / f"{SMALL}.params"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="not the file that its index.json describes"):
        get_model(SMALL, pretrained=True)
    (shelf / "index.json").write_text("{")
    with pytest.raises(UserError, match="is not whole JSON"):
        get_model(SMALL, pretrained=True)


@pytest.mark.parametrize("name", ["racnn_vgg19", "glimpse_mobilenet_v2"])
def test_where_a_backbone_alone_belongs(torch_files: Any, tmp_path: Path, name: str) -> None:
    net, one = get_model(name, backbone="tiny"), nd.ones((1,))
    inside = next(block for block in walk_blocks(net) if isinstance(block, Backbone))
    of_old_gluon = dict.fromkeys(inside.legacy.values(), one)
    for number, arrays in enumerate(({"features.0.weight": one}, {"0.weight": one}, of_old_gluon)):
        nd.save(str(tmp_path / str(number)), arrays)
    state = {"features.0.weight": np.ones(1, "f4"), "classifier.1.weight": np.ones(1, "f4")}
    torch_files.save(tmp_path / "3", state)
    for number in range(4):
        with pytest.raises(UserError, match="only a backbone .* as --backbone-weights, or to"):
            load_weights(net, str(tmp_path / str(number)))
    with pytest.raises(UserError, match="build the net with the name"):  # others have none
        load_weights(get_model(SMALL), str(tmp_path / "0"))


def test_shipped_files_are_those_of_the_index() -> None:
    for name in pretrained.all_weights():
        get_model(name, pretrained=True)
