"""Episodes of the glimpse network: on images, and on cached features of them."""

from __future__ import annotations

from typing import Any, Tuple

from mxnet import gluon

from ...ops.safe import concat
from ..recurrent_core import zeros_like_batch
from .controller import GlimpseController, Trace
from .patch_encoder import PatchEncoder


class Episode(gluon.HybridBlock):
    """An unrolled episode: (images, noise) to the fields of a `Trace`."""

    def __init__(self, encoder: PatchEncoder, controller: GlimpseController, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.encoder, self.controller = encoder, controller

    def hybrid_forward(self, F: Any, images: Any, noise: Any) -> Trace:
        encoder, sides, glimpses = self.encoder, self.encoder.sides, []
        pyramid = [encoder.downscaled(F, images, side) for side in sides]
        small = pyramid[-1] if sides[-1] == 1 else encoder.downscaled(F, images, 1.0)
        center = zeros_like_batch(F, small, 2)  # (N, 2)

        def encode(location: Any) -> Any:
            levels = zip(pyramid, sides)
            patches = [encoder.crop_patch(F, level, location, side) for level, side in levels]
            patches = F.stack(*patches, axis=1)  # (N, K, 3, patch, patch)
            glimpses.append(patches)
            features = F.mean(encoder(F.reshape(patches, shape=(-3, -2))), axis=(2, 3))
            return F.reshape(features, shape=(-1, len(sides) * encoder.channels))

        context = encoder(encoder.crop_patch(F, small, center, 1.0))
        trace = self.controller.unroll(F, context, encode, noise)
        boxes = glimpse_boxes(F, trace.locations, sides)
        return trace._replace(glimpse_boxes=boxes, patches=F.stack(*glimpses, axis=1))


class EpisodeFromFeatures(gluon.HybridBlock):
    """An unrolled episode on the features of `GlimpseNet.encode`, without patches to show."""

    def __init__(
        self, controller: GlimpseController, encoder: PatchEncoder, grids: Tuple[int, ...]
    ) -> None:
        super().__init__()
        self.controller, self.sides, self.channels = controller, encoder.sides, encoder.channels
        self.shapes = [encoder.cells, *((grid, grid) for grid in grids)]

    def hybrid_forward(self, F: Any, features: Any, noise: Any) -> Trace:
        maps, start = [], 0
        for shape in self.shapes:
            end = start + shape[0] * shape[1]
            flat = F.slice_axis(features, axis=2, begin=start, end=end)
            maps.append(F.reshape(flat, shape=(0, 0, *shape)))  # (N, C, *shape)
            start = end
        context, *grids = maps

        def encode(location: Any) -> Any:
            position = F.clip(location / self.controller.reach, -1, 1)
            position = F.reshape(position, shape=(0, 2, 1, 1))
            interpolated = (F.flatten(F.BilinearSampler(grid, position)) for grid in grids)
            return concat(F, *interpolated, chunk=self.channels)

        trace = self.controller.unroll(F, context, encode, noise)
        boxes = glimpse_boxes(F, trace.locations, self.sides)
        return trace._replace(glimpse_boxes=boxes, patches=[])


def glimpse_boxes(F: Any, locations: Any, sides: Tuple[float, ...]) -> Any:
    """The boxes of the patches at locations (N, T, 2): x, y, half the side, (N, T, K, 3)."""
    ones = F.ones_like(F.slice_axis(locations, axis=2, begin=0, end=1))
    return F.stack(*(F.concat(locations, ones * side, dim=2) for side in sides), axis=2)
