"""The preprocessing of `predict` and `evaluate`, from a picture to the input of a network."""

from __future__ import annotations

import os
from typing import Any, Optional, Union

import numpy as np
from mxnet import nd

from .commands.description import CONFIG, read_description
from .commands.open_model import shipped_description, view_of
from .datasets.pictures import read_picture
from .datasets.view import View
from .errors import UserError
from .training.config import BEST
from .zoo.attention_net import AttentionNet
from .zoo.feature_maps import FeatureMaps
from .zoo.registry import entry

Picture = Union[str, "os.PathLike[str]", np.ndarray, nd.NDArray]


class Transform:
    """A function from pictures of any size to network inputs, float32 (C, size, size).

    `transform(picture)` accepts the path of a file, or uint8 pixels (H, W, 3), (H, W, 1) or (H, W).
    `array_samples(..., transform=transform)` calls it with a batch uint8 (N, C, H, W) and a
    generator, which it ignores. In Gluon use `dataset.transform_first(transform)`.

    Attributes:
        view: the resize, crop and normalisation, for `Splits(..., view=transform.view)`.
    """

    def __init__(self, view: View) -> None:
        self.view = view

    def __call__(self, picture: Picture, rng: Optional[np.random.Generator] = None) -> np.ndarray:
        if isinstance(picture, (str, os.PathLike)):
            return self._input(read_picture(os.fspath(picture)))
        pixels = picture.asnumpy() if isinstance(picture, nd.NDArray) else picture
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            kind = getattr(pixels, "dtype", type(pixels).__name__)
            raise UserError(f"a picture is a path or an array of uint8 (H, W, 3), not {kind!s:.60}")
        if pixels.ndim == 4:
            return np.stack([self._input(one.transpose(1, 2, 0)) for one in pixels])
        return self._input(pixels[..., None] if pixels.ndim == 2 else pixels)

    def _input(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
            raise UserError(
                f"a picture has the shape (H, W, 3), (H, W, 1) or (H, W), not {pixels.shape}"
            )
        colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        return np.ascontiguousarray(self.view(np.ascontiguousarray(colours)), dtype=np.float32)

    def __repr__(self) -> str:
        return f"Transform({self.view})"


def transform_of(source: Union[str, AttentionNet, FeatureMaps]) -> Transform:
    """The transform from a picture to the input of a network.

    Args:
        source: a registered name; a net of `get_model`, which stands for its name; the folder of
            a run; or a file of weights with its description.
    """
    word = source
    if not isinstance(source, str):
        arguments: Any = getattr(source, "arguments", None)
        if not arguments:
            raise UserError(
                "transform_of accepts a name, the folder of a run, a file of weights or a network "
                f"of get_model, not {type(source).__name__}"
            )
        word = arguments["name"]
    elif os.path.isdir(source) or os.path.isfile(source):
        return Transform(_view_of_file(source))
    name = entry(word).name
    return Transform(view_of(name, shipped_description(name)))


def _view_of_file(path: str) -> View:
    description = read_description(os.path.join(path, BEST) if os.path.isdir(path) else path)
    name = description.network.get("name")
    if not name:
        raise UserError(
            f"the preprocessing of {path} is unknown: it needs a {CONFIG} of a run, "
            "or x.json beside x.params"
        )
    return view_of(entry(name).name, description)
