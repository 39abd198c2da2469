"""RAM from PyTorch's and Paddle's files: where it looks and what it answers, against numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

from gluon_attention import UserError, get_model, load_weights
from gluon_attention.interop.checkpoints import format_of

import numpy as np
import pytest
from foreign_states import State
from mxnet import nd


def add_linear(state: State, name: str, outputs: int, inputs: int, scale: float = 0.1) -> None:
    state[f"{name}.weight"] = (np.random.randn(outputs, inputs) * scale).astype("f4")
    state[f"{name}.bias"] = (np.random.randn(outputs) * scale).astype("f4")


def ram_state(pixels: int, classes: int = 10, one_layer_locator: bool = False) -> State:
    state: State = {}
    add_linear(state, "sensor.fc1", 128, pixels)
    add_linear(state, "sensor.fc2", 128, 2, 1.0)
    for name in ("sensor.fc3", "sensor.fc4"):
        add_linear(state, name, 256, 128)
    for name in ("rnn.i2h", "rnn.h2h"):
        add_linear(state, name, 256, 256, 0.05)
    if one_layer_locator:
        add_linear(state, "locator.fc", 2, 256, 0.05)
    else:
        add_linear(state, "locator.fc", 128, 256)
        add_linear(state, "locator.fc_lt", 2, 128, 0.3)
    add_linear(state, "classifier.fc", classes, 256)
    add_linear(state, "baseliner.fc", 1, 256)
    return state


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def crop(image: np.ndarray, location: np.ndarray, size: int, patch: int) -> np.ndarray:
    """Whole pixels around a location, averaged to a patch."""
    column, row = (0.5 * ((location + 1) * image.shape[1])).astype(int)
    padded = np.pad(image, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    pixels = padded[:, row : row + size, column : column + size]
    pitch = size // patch
    return pixels.reshape(-1, patch, pitch, patch, pitch).mean(axis=(2, 4)).ravel()


def episode(
    state: State, images: np.ndarray, patch: int, scales: int, steps: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Logits and locations of the public network without noise, from the centre."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    location, hidden, locations = np.zeros((len(images), 2)), np.zeros((len(images), 256)), []
    sizes = [patch * 2**scale for scale in range(scales)]
    for _ in range(steps):
        locations.append(location)
        glimpses = [
            np.concatenate([crop(image, center, size, patch) for size in sizes])
            for image, center in zip(images, location)
        ]
        what = relu(linear("sensor.fc1", np.stack(glimpses)))
        where = relu(linear("sensor.fc2", location))
        glimpse = relu(linear("sensor.fc3", what) + linear("sensor.fc4", where))
        hidden = relu(linear("rnn.i2h", glimpse) + linear("rnn.h2h", hidden))
        if "locator.fc_lt.weight" in state:
            location = np.tanh(linear("locator.fc_lt", relu(linear("locator.fc", hidden))))
        else:
            location = np.tanh(linear("locator.fc", hidden))
    return linear("classifier.fc", hidden), np.stack(locations, 1)


@pytest.mark.parametrize(
    "name, side, patch, scales, one_layer",
    [
        ("ram_28", 28, 8, 1, False),
        ("ram_28", 28, 8, 1, True),
        ("ram_translated_60", 60, 12, 3, False),
    ],
)
def test_same_locations_and_logits_as_the_source(
    name: str,
    side: int,
    patch: int,
    scales: int,
    one_layer: bool,
    torch_files: Any,
    tmp_path: Path,
) -> None:
    state = ram_state(scales * patch**2, one_layer_locator=one_layer)
    images = np.random.randn(20, 1, side, side)
    file = torch_files.save(tmp_path / "ckpt.pth.tar", {"epoch": 1, "model_state": state})
    net = get_model(name, **format_of(state).options(state))
    assert load_weights(net, file)[1:] == (len(state), [], 18)
    trace, (logits, locations) = (
        net.trace(nd.array(images)),
        episode(state, images, patch, scales, 6),
    )
    assert np.abs(locations[:, 1:]).max() > 0.5
    np.testing.assert_allclose(trace.locations.asnumpy(), locations, 1e-3, 1e-4)
    np.testing.assert_allclose(trace.logits.asnumpy(), logits, 1e-3, 1e-3)


def test_what_does_not_fit_is_refused(torch_files: Any, tmp_path: Path) -> None:
    state = ram_state(64)
    file = torch_files.save(tmp_path / "ckpt.pth.tar", state)
    net = get_model("ram_28", **format_of(state).options(state))
    with pytest.raises(UserError, match="need a net with retina='pixels'"):
        load_weights(get_model("ram_28"), file)
    with pytest.raises(UserError, match="PyTorch's RecurrentAttention.*is a ResidualAttention"):
        load_weights(get_model("cifar_residual_attention56_slim"), file)
    state["rnn.h2h.bias"] = state["rnn.h2h.bias"][:7]
    with pytest.raises(UserError, match=r"'rnn.h2h.bias' is \(7,\) and has to be \(256,\)"):
        load_weights(net, torch_files.save(tmp_path / "x", state))
    del state["rnn.h2h.bias"]
    with pytest.raises(UserError, match="has no 'rnn.h2h.bias'"):
        load_weights(net, torch_files.save(tmp_path / "x", state))
