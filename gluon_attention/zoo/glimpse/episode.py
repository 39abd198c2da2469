"""Episodes of the glimpse network: of images, and of what was remembered of them."""

from __future__ import annotations

from typing import Any, Tuple

from mxnet import gluon

from ...ops.safe import concat
from .controller import GlimpseController
from .patch_encoder import PatchEncoder


class Episode(gluon.HybridBlock):
    """An episode, unrolled: (images, noise) to the parts of a `Trace`."""

    def __init__(self, encoder: PatchEncoder, controller: GlimpseController, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.encoder, self.controller = encoder, controller

    def hybrid_forward(self, F: Any, images: Any, noise: Any) -> Tuple[Any, ...]:
        encoder, seen = self.encoder, []
        levels = [encoder.downscaled(F, images, side) for side in encoder.sides]
        small = levels[-1] if encoder.sides[-1] == 1 else encoder.downscaled(F, images, 1.0)
        middle = F.zeros_like(F.mean(small, axis=(2, 3)))
        middle = F.slice_axis(middle, axis=1, begin=0, end=2)  # (N, 2)

        def look(location: Any) -> Any:
            sides = zip(levels, encoder.sides)
            windows = [encoder.crop_patch(F, level, location, side) for level, side in sides]
            patches = F.stack(*windows, axis=1)  # (N, K, 3, patch, patch)
            seen.append(patches)
            found = F.mean(encoder(F.reshape(patches, shape=(-3, -2))), axis=(2, 3))
            return F.reshape(found, shape=(-1, len(levels) * encoder.channels))

        context = encoder(encoder.crop_patch(F, small, middle, 1.0))
        parts = self.controller.unroll(F, context, look, noise)
        return (*parts, glimpse_boxes(F, parts[2], encoder.sides), F.stack(*seen, axis=1))


class EpisodeFromFeatures(gluon.HybridBlock):
    """The same from what `GlimpseNet.encode` gave of the images, without their patches."""

    def __init__(
        self, controller: GlimpseController, encoder: PatchEncoder, grids: Tuple[int, ...]
    ) -> None:
        super().__init__()
        self.controller, self.sides, self.channels = controller, encoder.sides, encoder.channels
        self.shapes = [encoder.cells, *((grid, grid) for grid in grids)]

    def hybrid_forward(self, F: Any, features: Any, noise: Any) -> Tuple[Any, ...]:
        maps, start = [], 0
        for shape in self.shapes:
            end = start + shape[0] * shape[1]
            flat = F.slice_axis(features, axis=2, begin=start, end=end)
            maps.append(F.reshape(flat, shape=(0, 0, *shape)))  # (N, C, *shape)
            start = end
        context, *fields = maps

        def look(location: Any) -> Any:
            place = F.clip(location / self.controller.reach, -1, 1)
            grid = F.reshape(place, shape=(0, 2, 1, 1))
            found = (F.flatten(F.BilinearSampler(field, grid)) for field in fields)
            return concat(F, *found, chunk=self.channels)

        parts = self.controller.unroll(F, context, look, noise)
        return (*parts, glimpse_boxes(F, parts[2], self.sides))


def glimpse_boxes(F: Any, locations: Any, sides: Tuple[float, ...]) -> Any:
    """The `glimpse_boxes` of a trace: each location (N, T, 2) with every side: (N, T, K, 3)."""
    one = F.ones_like(F.slice_axis(locations, axis=2, begin=0, end=1))
    return F.stack(*(F.concat(locations, one * side, dim=2) for side in sides), axis=2)
