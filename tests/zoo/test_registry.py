"""The registry: names, suggestions, options and their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gluon_attention
from gluon_attention import UserError, get_model, list_models
from gluon_attention.zoo import options_of, registry
from gluon_attention.zoo.registry import read_options, register
from gluon_attention.zoo.residual_attention.module import ResidualAttentionOptions

import mxnet as mx
import numpy as np
import pytest
from builders import SMALL

SLIM = "cifar_residual_attention56_slim"
STAGE1 = (dict(classes=2, backbone="tiny", patch=16), (3, 64, 64))


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("residual_atention92", "residual_attention92"),
        ("cifar_residual_attention93", "cifar_residual_attention92"),
        ("cifar_resattention_56", "cifar_residual_attention56"),
    ],
)
def test_unknown_name_suggests_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"unknown model '{wrong}'; did you mean .*'{right}'"):
        get_model(wrong)


def test_the_package_completes_what_it_imports_later() -> None:
    assert {"get_model", "load_weights", "transform_of"} <= set(dir(gluon_attention))
    assert all(hasattr(gluon_attention, name) for name in dir(gluon_attention))
    with pytest.raises(AttributeError, match="has no attribute 'get_modle'"):
        gluon_attention.get_modle  # noqa: B018


def test_no_suggestion_without_a_similar_name() -> None:
    with pytest.raises(UserError) as error:
        get_model("zzz")
    assert "did you mean" not in str(error.value)
    assert "list_models" in str(error.value)


def test_names_are_found_in_any_case() -> None:
    assert registry.entry("CIFAR_Residual_Attention56").name == "cifar_residual_attention56"


def test_a_name_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    entry: Any = dict(options=ResidualAttentionOptions(), shape=(3, 8, 8), classes=2)
    register("brand_new", lambda classes, options: None, **entry)
    assert "brand_new" in list_models()
    with pytest.raises(ValueError, match="'brand_new' is registered twice"):
        register("brand_new", lambda classes, options: None, **entry)


def test_list_is_sorted_and_filtered() -> None:
    names = list_models()
    assert names == sorted(names) and len(set(names)) == len(names)
    depths = ["128", "164", "236", "452", "56", "92"]
    assert list_models("CIFAR_residual*_slim") == [
        f"cifar_residual_attention{depth}_slim" for depth in depths
    ]
    assert list_models("nothing*") == []


def test_aliases_are_listed_on_request() -> None:
    assert list_models("*residualattentionnet*") == []
    assert len(list_models("*residualattentionnet*", aliases=True)) == 10
    assert set(list_models()) < set(list_models(aliases=True))


def test_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"{SLIM} has no option 'mask_fussion'; it has mask_fusi"):
        get_model(SLIM, mask_fussion="none")
    assert options_of(SLIM) == {
        "mask_fusion": "none",
        "mask_activation": "mixed",
        "attention": "residual",
        "mask": "encoder_decoder",
        "unit": "preact",
    }
    assert options_of("residualattentionnet56")["mask_fusion"] == "gluoncv"


@pytest.mark.parametrize("classes", [-1, 2.5, "10"])
def test_number_of_classes(classes: object) -> None:
    with pytest.raises(UserError, match="classes must be a whole number above 0"):
        get_model(SLIM, classes=classes)


def test_numpy_numbers_and_whole_floats_are_accepted() -> None:
    assert get_model(SLIM, classes=np.int64(3)).classes == 3
    net = get_model("ram_28", glimpses=6.0, std=np.float32(0.25))
    assert net.arguments["options"] == {"glimpses": 6, "std": 0.25}
    assert type(net.options.glimpses) is int


@pytest.mark.parametrize(
    "name, option, value, accepted",
    [
        ("ram_28", "widths", (128.5,) * 5, "whole numbers from 1 to 65536, such as"),
        ("ram_28", "widths", "128", "whole numbers from 1 to 65536, such as"),
        ("ram_28", "glimpses", None, "a whole number from 1 to 100, such as 6, not None"),
        ("racnn_mobilenet_v2", "shared", 2, "0 or 1, such as False"),
        ("racnn_mobilenet_v2", "smallest", ("a", 1), "numbers from 0.01 to 1, such as"),
        ("glimpse_resnet50", "reach", "far", "a number from 0.001 to 1, not 'far'"),
        ("glimpse_resnet50", "reach", float("nan"), "a number from 0.001 to 1, not nan"),
        ("glimpse_resnet50", "policy", 3, "one of learned, center, random, not 3"),
    ],
)
def test_values_of_another_type_or_range_are_refused(
    name: str, option: str, value: object, accepted: str
) -> None:
    with pytest.raises(UserError, match=f"^{option} must be {accepted}"):
        get_model(name, **{option: value})


def test_options_are_read_as_literals_or_text() -> None:
    actual = read_options("core=lstm,crops=(64,64),std=0.2,backbone=mobilenetv2_1.0,shared=True")
    assert actual == dict(
        core="lstm", crops=(64, 64), std=0.2, backbone="mobilenetv2_1.0", shared=True
    )
    assert read_options("") == {}
    assert read_options("widths=[1,2],std=0.2,sides=[3]") == dict(widths=[1, 2], std=0.2, sides=[3])


def test_arguments_of_get_model_are_no_options() -> None:
    with pytest.raises(UserError, match="'classes' is not an option of a network; leave it out"):
        read_options("core=lstm, classes=5")


@pytest.mark.parametrize("name", [*SMALL, "glimpse_mobilenet_v2_stage1"])
def test_parameters_have_the_prefix_of_their_net(name: str, tmp_path: Path) -> None:
    options, shape = SMALL.get(name, STAGE1)
    images, path = mx.nd.random.normal(shape=(1, *shape)), str(tmp_path / "net.params")
    net, other = get_model(name, prefix="first_", **options), get_model(name, **options)
    for one in (net, other):
        one.initialize(one.initializer)
        one.trace(images)
    names = list(net.collect_params())
    assert net.prefix == "first_" and list(net.collect_params("first_.*")) == names
    net.collect_params().save(path, strip_prefix=net.prefix)
    other.collect_params().load(path, restore_prefix=other.prefix)
    sharing = get_model(name, params=net.collect_params(), **options)
    assert list(sharing.collect_params().values()) == list(net.collect_params().values())
    for one in (other, sharing):
        np.testing.assert_array_equal(one(images).asnumpy(), net(images).asnumpy())


def test_feature_maps_and_new_classifiers_have_the_prefix_too() -> None:
    net = get_model(SLIM, prefix="net_")
    maps = get_model(SLIM, features_only=True, params=net.collect_params(), prefix="maps_")
    shared = set(maps.collect_params().values())
    assert shared < set(net.collect_params().values()) and maps.prefix == "maps_"
    alone = get_model(SLIM, features_only=True)
    names = list(alone.collect_params())
    assert names and list(alone.collect_params(alone.prefix + ".*")) == names
    other = get_model(SLIM, params=net.collect_params())
    other.reset_classifier(4)
    assert net.classes == 10 and net.body.head[3].weight.shape[0] == 10


def test_parameters_of_another_network_are_not_shared() -> None:
    net = get_model("ram_28", classes=3)
    with pytest.raises(UserError, match="params are of another network: .*head_weight"):
        get_model("ram_28", classes=4, params=net.collect_params())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(ctx="cpu"), "ctx must be a device such as mx.cpu"),
        (dict(ctx=[]), "ctx must be a device"),
        (dict(pretrained=True, root="/is/no/folder"), "root /is/no/folder is no folder"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_model("ram_28", **arguments)
