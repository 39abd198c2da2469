"""The data set of `evaluate` and `export --int8`: normalised and checked for the network."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gluon_attention import get_model
from gluon_attention.commands._data import load
from gluon_attention.commands.evaluate import score_config
from gluon_attention.commands.export import calibration
from gluon_attention.commands.open_model import Overrides, open_model
from gluon_attention.datasets import cifar10, detail, mnist

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
SLIM = "cifar_residual_attention56_slim"
MEAN, STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)


def saved(file: Path, name: str, **data: Any) -> Path:
    """Random weights of a network, and a .json that describes its data."""
    net = get_model(name, **data.pop("options", {}))
    net.initialize(net.initializer)
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(file))
    file.with_suffix(".json").write_text(json.dumps(dict(network=net.arguments, data=data)))
    return file


def test_images_are_normalised_for_the_network(shell: Any, tmp_path: Path) -> None:
    """Half the weights of the first convolution, and half of std: the same network."""
    net = get_model(SLIM, pretrained=True)
    first = net.collect_params(".*conv.*weight")
    weight = next(p for p in first.values() if p.shape[1] == 3)
    weight.set_data(weight.data() / 2)
    net.save_parameters(str(tmp_path / "half.params"))
    data = dict(mean=MEAN, std=[value / 2 for value in STD], source=dict(name="cifar10"))
    about = json.dumps(dict(network=net.arguments, data=data))
    (tmp_path / "half.json").write_text(about)
    words = ("--data-dir", SAMPLE / "cifar10", "--num-gpus", 0, "--split", "validation", "--json")
    whole, half = (
        json.loads(shell("evaluate", model, *words)[1][-1])["test"]
        for model in (SLIM, tmp_path / "half.params")
    )
    assert half == pytest.approx(whole, rel=1e-3) and whole["accuracy"] > 0.8


def test_images_of_the_networks_normalisation_are_unchanged() -> None:
    flags = Namespace(dataset=None, data_dir=str(SAMPLE / "cifar10"), seed=None, size=None)
    samples = load(open_model(SLIM), flags, "test").samples
    plain = cifar10(SAMPLE / "cifar10").test
    assert len(samples) == len(plain)
    np.testing.assert_array_equal(samples.first(7), plain.first(7))


@pytest.mark.parametrize("seed", [None, 3])
def test_the_seed_flag_decides_the_validation_images(seed: Any) -> None:
    flags = Namespace(dataset=None, data_dir=str(SAMPLE / "mnist"), seed=seed, size=None)
    samples = load(open_model("ram_28"), flags, "validation").samples
    plain = mnist(str(SAMPLE / "mnist"), seed=seed or 0, download=False).validation
    np.testing.assert_array_equal(samples.first(7), plain.first(7))


@pytest.mark.parametrize("own", [True, False])
def test_calibration_images_are_normalised_for_the_network(tmp_path: Path, own: bool) -> None:
    """Pictures of the user through the view of the model, or else validation images."""
    model = open_model("ram_28", Overrides(mean=(0.5,), std=(0.25,)))
    flags = dict(dataset=None, data_dir=str(SAMPLE / "mnist"), seed=None, size=None, images=2)
    pictures = np.random.randint(256, size=(3, 40, 50, 3), dtype="uint8")
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    images = calibration(model, Namespace(**flags, calibrate=[str(tmp_path)] if own else None))
    plain = (mnist(SAMPLE / "mnist").validation.first(2) - 0.5) / 0.25
    expected = np.stack([model.view(picture) for picture in pictures[:2]]) if own else plain
    np.testing.assert_allclose(images, expected, atol=1e-6)


def test_flags_override_settings_of_the_run_and_those_override_defaults() -> None:
    model = SimpleNamespace(settings=dict(samples=3, seed=5, batch_size=8))
    configs = [
        score_config(model, Namespace(batch_size=b, samples=None, seed=0)) for b in (None, 16)
    ]
    values = [(c.batch_size, c.samples, c.seed, c.label_smoothing) for c in configs]
    assert values == [(8, 3, 0, 0.0), (16, 3, 0, 0.0)]
    default = score_config(
        SimpleNamespace(settings={}), Namespace(batch_size=2, samples=4, seed=None)
    )
    assert (default.batch_size, default.samples, default.seed) == (2, 4, 0)


def test_regions_stay_when_images_are_renormalised(tmp_path: Path) -> None:
    options = dict(backbone="tiny", crops=(16, 16), shrink=2)
    generated = dict(size=64, coarse=32, train=1, validation=6, test=4)  # training fills no batch
    file = saved(
        tmp_path / "x.params",
        "racnn_mobilenet_v2",
        options=dict(options, classes=16),
        source=dict(name="detail", options=generated),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    flags = Namespace(dataset=None, data_dir=None, seed=None, size=None)
    samples = load(open_model(str(file)), flags, "validation").samples
    plain = detail(**generated).validation
    np.testing.assert_allclose(samples.first(4), plain.first(4) * 0.25 + 0.5, atol=1e-6)
    assert len(samples.regions()) == len(samples) == 6


def test_a_network_that_was_never_trained_can_be_evaluated(shell: Any, tmp_path: Path) -> None:
    options = dict(backbone="tiny", crops=(16, 16), shrink=2, boxes="pixels", classes=16)
    source = dict(name="detail", options=dict(size=64, coarse=32, train=1, validation=1, test=4))
    file = saved(tmp_path / "x.params", "racnn_mobilenet_v2", options=options, source=source)
    status, out, err = shell("evaluate", str(file), "--num-gpus", "0")
    assert status == 0, err
    assert "on 4 images" in out[0]


MISTAKES = [
    ("ram_28 --dataset cifar10 --data-dir {cifar10}", "needs grey images and those of cifar10 are"),
    (SLIM + " --dataset mnist-28 --data-dir {mnist}", "needs coloured images and those of mnist"),
    (SLIM + " --data-dir {cifar10} --size 40", "have 32 pixels a side: leave out --size"),
    ("{looks} --dataset imagenet --data-dir {val} --samples 3", "use no sampling"),
    ("{birds} --dataset imagenet --data-dir {val} --size 64", "has 16 classes and imagenet has"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_data_set_that_does_not_fit_is_refused(
    shell: Any, tmp_path: Path, words: str, sentence: str
) -> None:
    paths = dict(cifar10=SAMPLE / "cifar10", mnist=SAMPLE / "mnist", val=tmp_path / "val")
    if "{birds}" in words:
        small = dict(backbone="tiny", crops=(16, 16), shrink=2, classes=16)
        paths["birds"] = saved(tmp_path / "x.params", "racnn_mobilenet_v2", options=small)
    if "{looks}" in words:
        small = dict(backbone="tiny", patch=16, hidden=8, classes=2)
        paths["looks"] = saved(tmp_path / "x.params", "glimpse_mobilenet_v2", options=small)
    for name in ("cat", "dog"):
        (tmp_path / "val" / "val" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "val" / "val" / name / "a.png")
    status, out, err = shell("evaluate", *(word.format(**paths) for word in words.split()))
    assert status == 2 and not out and len(err) == 1 and sentence in err[0]
