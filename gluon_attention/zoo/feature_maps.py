"""Feature maps of a network, one for each stride, as detectors and segmentation use them."""

from __future__ import annotations

import numbers
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from ..errors import UserError
from .portable_block import PortableBlock

_SIDE = 768  # of the images that strides are measured on: 3 * 2**8, so that no half is rounded


class Stage(NamedTuple):
    """All layers at one stride."""

    layers: List[gluon.HybridBlock]
    stride: int  # pixels of the image per position of the map
    channels: int


def stages_of(layers: Sequence[gluon.HybridBlock]) -> List[Stage]:
    """Layers from images to the last feature map, divided where the stride changes."""
    x, maps = mx.sym.var("images"), []
    for layer in layers:
        x = _map(layer(x))
        maps.append(x)
    shapes = mx.sym.Group(maps).infer_shape(images=(1, 3, _SIDE, _SIDE))[1]
    stages: List[Stage] = []
    for layer, (_, channels, height, _) in zip(layers, shapes):
        stride = _SIDE // height
        if not stages or stages[-1].stride != stride:
            stages.append(Stage([], stride, channels))
        stages[-1].layers.append(layer)
        stages[-1] = stages[-1]._replace(channels=channels)
    return stages


class FeatureMaps(PortableBlock):
    """Images (N, 3, H, W) to a list of feature maps (N, channels, H / stride, W / stride).

    It contains only the layers of a network up to the last of these maps.

    Attributes:
        channels: of each map.
        strides: of each map, in pixels of the image.
        arguments: of the call of `get_model` that built the network.
    """

    arguments: Dict[str, Any] = {}

    def __init__(
        self,
        layers: Sequence[gluon.HybridBlock],
        out_indices: Optional[Sequence[int]] = None,
        **kwargs: Any,
    ) -> None:
        """`out_indices` are indices of maps, from the finest; negative ones count from the end."""
        super().__init__(**kwargs)
        stages = stages_of(layers)
        indices = _indices(out_indices, [stage.stride for stage in stages])
        self.channels = [stages[index].channels for index in indices]
        self.strides = [stages[index].stride for index in indices]
        self._indices = indices
        with self.name_scope():
            self.stages = nn.HybridSequential()
            for stage in stages[: max(indices) + 1]:
                block = nn.HybridSequential()
                block.add(*stage.layers)
                self.stages.add(block)

    def hybrid_forward(self, F: Any, images: Any) -> List[Any]:
        x, maps = images, []
        for stage in self.stages:
            for layer in stage:
                x = _map(layer(x))
            maps.append(x)
        return [maps[index] for index in self._indices]


def _map(outputs: Any) -> Any:
    """The feature map of a layer; an attention module returns its mask, too."""
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _indices(out_indices: Optional[Sequence[int]], strides: List[int]) -> Tuple[int, ...]:
    count = len(strides)
    indices = range(count) if out_indices is None else out_indices
    is_list = isinstance(indices, (list, tuple, range)) and len(indices) > 0
    if not (is_list and all(isinstance(i, numbers.Integral) for i in indices)):
        raise UserError(
            f"out_indices must be a list of whole numbers, such as [-2, -1], not {indices!a:.60}"
        )
    for index in indices:
        if not -count <= index < count:
            raise UserError(
                f"there is no feature map {index}: there are {count}, of strides "
                f"{', '.join(map(str, strides))}, and out_indices are from {-count} to {count - 1}"
            )
    return tuple(int(index) % count for index in indices)
