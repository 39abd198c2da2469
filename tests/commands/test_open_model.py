"""A network from one word: name, file or run, with its description and overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gluon_attention import UserError, get_model
from gluon_attention.commands.description import read_description
from gluon_attention.commands.open_model import Overrides, open_model
from gluon_attention.datasets.view import CIFAR_VIEW, View, default_view
from gluon_attention.training.config import Config
from gluon_attention.training.run_folder import RunFolder

import mxnet as mx
import pytest

SLIM = "cifar_residual_attention56_slim"
BARE = "cifar_residual_attention92_slim"  # comes without weights
TINY = dict(backbone="tiny", crops=(16, 16), shrink=2)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of random weights, with nothing that says of what."""
    net = get_model("racnn_mobilenet_v2", classes=4, **TINY)
    net.initialize()
    net.trace(mx.nd.zeros((1, 3, 64, 64)))
    net.save_parameters(str(tmp_path / "birds.params"))
    return str(tmp_path / "birds.params")


def describe(weights: str, **data: Any) -> None:
    network = dict(name="racnn_mobilenet_v2", classes=4, options=TINY)
    document = dict(network=network, data=data)
    Path(weights).with_suffix(".json").write_text(json.dumps(document))


def test_a_name_opens_the_shipped_weights() -> None:
    model = open_model("RAM_28")
    assert model.name == "ram_28" and model.shape == (1, 28, 28)
    assert list(model.classes) == list("0123456789")
    assert model.source == {"name": "mnist", "options": {"task": "28"}}


def test_a_name_without_weights_is_refused_unless_untrained() -> None:
    with pytest.raises(UserError, match=f"{BARE} comes without trained weights .*ram_28"):
        open_model(BARE)
    assert open_model(BARE, untrained=True).view == CIFAR_VIEW
    images = mx.nd.random.uniform(shape=(2, 1, 28, 28))
    random, trained = open_model("ram_28", untrained=True), open_model("ram_28")
    assert random.source == trained.source
    assert abs(random.net(images) - trained.net(images)).max().asscalar() > 0.1


def test_a_description_beside_the_file_is_used(weights: str) -> None:
    view = dict(size=64, short=64, mean=[0.5] * 3, std=[0.2] * 3)
    describe(weights, classes=["a", "b", "c", "d"], view=view, source={"name": "detail"})
    model = open_model(weights)
    assert model.name == "racnn_mobilenet_v2" and list(model.classes) == ["a", "b", "c", "d"]
    assert model.view == View(64, 64, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert model.net.arguments["options"] == TINY and model.source == {"name": "detail"}
    larger = open_model(weights, Overrides(size=128, std=(0.1,) * 3))
    assert larger.view == View(128, 128, mean=(0.5,) * 3, std=(0.1,) * 3)


def test_options_are_added_to_those_of_the_description(weights: str) -> None:
    describe(weights)
    model = open_model(weights, Overrides(options=dict(apn="light")))
    assert model.net.arguments["options"] == dict(TINY, apn="light")
    model = open_model(weights, Overrides(options=dict(shrink=1)))
    assert model.net.arguments["options"] == dict(TINY, shrink=1)


def test_options_of_another_network_are_not_added(weights: str) -> None:
    describe(weights)
    with pytest.raises(UserError, match="build the net"):  # not: no option 'crops'
        open_model(weights, Overrides(name=SLIM, options=dict(mask="local")))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (dict(network=[1]), "birds.json: network must be an object"),
        (dict(network=dict(name=5)), "network.name must be text, not 5"),
        (dict(network=dict(nmae="ram_28")), "network.'nmae' is no key of it; it has name, classes"),
        (dict(network=dict(name="ram_28", classes="x")), "network.classes must be a whole number"),
        (dict(network=dict(name="ram_28", classes=-1)), "network.classes must be a whole number"),
        (dict(network=dict(name="ram_28", options="x")), "network.options must be an object"),
        (dict(network=dict(name="ram_28", options=[1])), "network.options must be an object"),
        (dict(network=dict(name="ram_28", options=dict(root="x"))), "no option 'root'"),
        (dict(network=dict(name="ram_28", options=dict(pretrained=1))), "no option 'pretrained'"),
        (dict(network=dict(name="ram_28", options=dict(name="x"))), "no option 'name'"),
        (dict(data=[1]), "birds.json: data must be an object"),
        (dict(data="x"), "birds.json: data must be an object"),
        (dict(data=dict(classes=5)), "data.classes must be words"),
        (dict(data=dict(classes=[None, {}])), "data.classes must be words"),
        (dict(data=dict(view=[1])), "data.view must be an object"),
        (dict(data=dict(view="x")), "data.view must be an object"),
        (dict(data=dict(view=dict(foo=1))), "data.view.'foo' is no key of it; it has size, short"),
        (dict(data=dict(view=dict(short=28))), "data.view.size is missing"),
        (dict(data=dict(view=dict(size="28"))), "data.view.size must be a whole number from 1 to"),
        (dict(data=dict(view=dict(size=28.5))), "data.view.size must be a whole number from 1 to"),
        (dict(data=dict(view=dict(size=1e9))), "data.view.size must be a whole number from 1 to"),
        (dict(data=dict(view=dict(size=float("nan")))), "data.view.size must be a whole number"),
        (dict(data=dict(view=dict(size=28, short=0))), "data.view.short must be a whole number"),
        (dict(data=dict(view=dict(size=28, short=9))), "short must be size, 28, or more, not 9"),
        (dict(data=dict(view=dict(size=28, random="x"))), "data.view.random must be 0 or 1"),
        (dict(data=dict(std=(0.0, 1.0, 1.0))), "data.std must be numbers from"),
        (dict(data=dict(mean=(float("nan"),) * 3)), "data.mean must be numbers from"),
        (dict(data=dict(std=(float("inf"),) * 3)), "data.std must be numbers from"),
        (dict(data=dict(mean=[0.5, "a", 0.5])), "data.mean must be numbers from"),
        (dict(data=dict(mean=0.5)), "data.mean must be numbers from"),
        (dict(data=dict(source="mnist")), "data.source must be an object"),
        (dict(data=dict(source=dict(name=["mnist"]))), "data.source.name must be text"),
        (dict(data=dict(source=dict(options=[1]))), "data.source.options must be an object"),
        (dict(data={}, settings=[1]), "birds.json: settings must be an object"),
        (dict(data={}, settings=dict(data_dir=5)), "settings.data_dir must be text"),
    ],
)
def test_a_description_of_the_wrong_shape_is_refused(
    weights: str, document: Any, message: str
) -> None:
    document = {"network": dict(name="racnn_mobilenet_v2", classes=4, options=TINY), **document}
    Path(weights).with_suffix(".json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        open_model(weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "birds.json is nested more than 32 deep"),
        ("[" * 40 + "]" * 40, "birds.json is nested more than 32 deep"),
        (" " * (1 << 24) + "{}", "birds.json is larger than 16 MB"),
        ("\xff", "birds.json is not whole JSON"),
        ('{"data": ' + "9" * 5000 + "}", "birds.json is not whole JSON|data must be an object"),
    ],
)
def test_a_document_of_no_bounds_is_refused(weights: str, text: str, message: str) -> None:
    Path(weights).with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        open_model(weights)


@pytest.mark.parametrize(
    "view", [dict(size=64), dict(size=64, short=64, random=True, area=[0.1, 1], jitter=0.4)]
)
def test_a_random_view_stands_for_its_fixed_crop(weights: str, view: Any) -> None:
    describe(weights, view=view)
    model = open_model(weights)
    assert model.view.short == 64 and not model.view.random and model.view.jitter == 0


def test_untrained_is_refused_for_a_file(weights: str) -> None:
    with pytest.raises(UserError, match="--untrained is for a name"):
        open_model(weights, untrained=True)


@pytest.mark.parametrize("end", ["-symbol.json", "-0000.params", ".onnx"])
def test_a_part_of_an_exported_graph_is_refused(tmp_path: Any, end: str) -> None:
    (tmp_path / f"net{end}").write_text("{}")
    with pytest.raises(UserError, match="a part of an exported graph.*give the name"):
        open_model(str(tmp_path / f"net{end}"))


def test_an_onnx_file_is_refused_even_with_a_description(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("{}")
    (tmp_path / "net.json").write_text(json.dumps({"network": {"name": "ram_28"}}))
    with pytest.raises(UserError, match="a part of an exported graph"):
        open_model(str(tmp_path / "net.onnx"))


def test_overrides_describe_a_bare_file(weights: str) -> None:
    with pytest.raises(UserError, match="is unknown, as no .json .* add --model"):
        open_model(weights)
    overrides = Overrides("racnn_mobilenet_v2", 4, TINY, ["w", "x", "y", "z"], size=64)
    model = open_model(weights, overrides)
    assert list(model.classes) == ["w", "x", "y", "z"] and model.view == default_view((3, 64, 64))
    with pytest.raises(UserError, match="build the net with the name, classes and options"):
        open_model(weights, overrides._replace(classes=5))
    with pytest.raises(UserError, match="1 class names .* 4 classes"):
        open_model(weights, overrides._replace(class_names=["w"]))


def test_an_unregistered_network_is_left_to_its_script(tmp_path: Path) -> None:
    (tmp_path / "best.params").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps(dict(settings={}, network=None)))
    with pytest.raises(UserError, match="only the script that trained it"):
        open_model(str(tmp_path))


def test_overrides_come_before_the_description(weights: str) -> None:
    describe(weights, classes=["a"])
    assert list(open_model(weights).classes) == ["0", "1", "2", "3"]  # the list does not fit
    with pytest.raises(UserError, match="build the net"):
        open_model(weights, Overrides(options=dict(TINY, shared=True)))
    with pytest.raises(UserError, match="build the net"):
        open_model(weights, Overrides(name=SLIM))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ram_82", "unknown model 'ram_82'; did you mean 'ram_28'"),
        ("there/is/none", "there is no there/is/none"),
        ("none.params", "there is no none.params"),
    ],
)
def test_words_that_stand_for_no_network_are_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(word)


def test_overrides_that_do_not_fit_a_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"does not accept images of shape \(3, 28, 28\)"):
        open_model("ram_28", Overrides(mean=(0, 0, 0), std=(1, 1, 1)))
    with pytest.raises(UserError, match="one number or three"):
        open_model("ram_28", Overrides(mean=(0, 0)))
    with pytest.raises(UserError, match="--model is for a file"):
        open_model("ram_28", Overrides(name=SLIM))


def test_broken_runs_descriptions_and_files_are_refused(tmp_path: Path, weights: str) -> None:
    with pytest.raises(UserError, match="is no run with a best epoch"):
        open_model(str(tmp_path))
    Path(weights).with_suffix(".json").write_text("{")
    with pytest.raises(UserError, match="birds.json is not whole JSON"):
        open_model(weights)
    describe(weights)
    whole = Path(weights).read_bytes()
    Path(weights).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="it is cut off, damaged or of another kind"):
        open_model(weights)


def test_a_run_finds_its_data_from_any_folder(tmp_path: Path, monkeypatch: Any) -> None:
    for folder in ("data", "runs/a", "elsewhere/data"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    RunFolder("runs/a", writes=True).write_config(Config(data_dir="data"), {"data": {}})
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = read_description("../runs/a/best.params").settings
    assert settings["data_dir"] == str(tmp_path / "data")
    (tmp_path / "data").rmdir()
    assert read_description("../runs/a/best.params").settings["data_dir"] == "data"
