"""The transform of a name, a net, a run and a file, in Gluon's loader and in `Splits`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

from gluon_attention import Transform, UserError, get_model, list_models, transform_of
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import array_samples
from gluon_attention.datasets.view import View
from gluon_attention.zoo.registry import entry

import cv2
import numpy as np
import pytest
from mxnet import gluon, nd

SLIM = "cifar_residual_attention56_slim"


def picture(height: int = 50, width: int = 40, channels: int = 3) -> np.ndarray:
    return np.random.randint(256, size=(height, width, channels)).astype("uint8")


@pytest.mark.parametrize("name", list_models(aliases=True))
def test_every_name_has_one(name: str) -> None:
    transform = transform_of(name)
    shape = entry(name).shape
    assert (len(transform.view.mean), transform.view.size, transform.view.size) == shape


@pytest.mark.parametrize("name", [SLIM, "ram_28"])
def test_it_is_that_of_predict(name: str, tmp_path: Path) -> None:
    pixels, file = picture(), str(tmp_path / "x.png")
    cv2.imwrite(file, pixels[..., ::-1])
    expected = open_model(name).view(pixels)
    for source in (name, get_model(name)):
        transform = transform_of(source)
        for image in (pixels, file, Path(file), nd.array(pixels, dtype="uint8")):
            actual = transform(image)
            assert actual.dtype == np.float32 and actual.flags.c_contiguous
            np.testing.assert_array_equal(actual, expected.astype("float32"))


def test_grey_pictures() -> None:
    pixels = picture(channels=1)
    for name in (SLIM, "ram_28"):
        transform = transform_of(name)
        expected = transform(np.repeat(pixels, 3, axis=2))
        np.testing.assert_array_equal(transform(pixels), expected)
        np.testing.assert_array_equal(transform(pixels[..., 0]), expected)


def test_of_runs_and_files(tmp_path: Path) -> None:
    view = dict(size=40, short=44, mean=[0.5] * 3, std=[0.2] * 3)
    document = dict(network=dict(name=SLIM), data=dict(view=view))
    (tmp_path / "config.json").write_text(json.dumps(document))
    file = tmp_path / "x.params"
    file.write_bytes(b"")
    for source in (str(tmp_path), str(file)):
        assert transform_of(source).view == View(40, 44, mean=(0.5,) * 3, std=(0.2,) * 3)


def test_loaders_take_it() -> None:
    transform, pixels = transform_of("ram_28"), [picture() for _ in range(4)]
    data = gluon.data.SimpleDataset([(nd.array(p, dtype="uint8"), k) for k, p in enumerate(pixels)])
    images, labels = next(iter(gluon.data.DataLoader(data.transform_first(transform), 4)))
    assert images.shape == (4, 1, 28, 28) and labels.asnumpy().tolist() == [0, 1, 2, 3]
    batch = np.stack(pixels).transpose(0, 3, 1, 2)
    samples = array_samples(batch, [0, 1, 2, 3], 4, transform=transform)
    np.testing.assert_array_equal(samples.first(4), images.asnumpy())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: transform_of("ram_29"), "unknown model"),
        (lambda: transform_of(gluon.nn.Dense(1)), "not Dense"),
        (lambda: transform_of(str(Path(__file__).parent)), "the preprocessing of .* is unknown"),
        (lambda: transform_of("ram_28")(np.zeros((5, 5, 3))), "uint8 .*not float64"),
        (lambda: transform_of("ram_28")(np.zeros((5, 5, 4), "uint8")), "not .5, 5, 4."),
        (lambda: transform_of("ram_28")(np.zeros((0, 5, 3), "uint8")), "not .0, 5, 3."),
        (lambda: transform_of("ram_28")("missing.png"), "cannot read missing.png"),
    ],
)
def test_a_wrong_request_is_refused(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        act()


def test_it_says_what_it_does() -> None:
    assert "size=28" in repr(Transform(View(28, 28)))
