"""The visual network of glimpses, and the square windows of an image that it is shown."""

from __future__ import annotations

from typing import Any, Tuple

from mxnet import gluon, nd, sym

from ...ops.crop import crop
from ..backbones import backbone as build_backbone


class PatchEncoder(gluon.HybridBlock):
    """A backbone over windows: (N, 3, patch, patch) to (N, channels, *cells).

    `crop_patch(F, downscaled(F, images, side), location, side)` crops patches. Images are
    downscaled once for all glimpses, to pixels as large as those of a patch: none is skipped.

    Args:
        backbone: name of the network.
        patch: side of a window in pixels, however much of the image it shows.
        sides: of the windows of a glimpse, as shares of the image's side, the smallest first.
        stem_stride: of the first convolution; 0 for what the backbone has.
        size: usual side of the images in pixels; others are seen as well, but not as sharply.
    """

    def __init__(
        self,
        backbone: str,
        patch: int,
        sides: Tuple[float, ...],
        stem_stride: int,
        size: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind, self.patch, self.sides = backbone, patch, sides
        self.stem, self.size = stem_stride, size
        with self.name_scope():
            self.backbone = build_backbone(backbone, stem_stride=stem_stride)
        self.channels = self.backbone.channels
        window = nd.zeros((1, 3, patch, patch))
        self.backbone.infer_shape(window)
        found = self.backbone(sym.var("window")).infer_shape(window=window.shape)[1][0]
        self.cells = found[2:]  # height and width of the features of a window

    def downscaled(self, F: Any, images: Any, side: float) -> Any:
        """Images averaged until their pixels are as large as those of a window of that side."""
        pitch = (max(1, round(side * self.size / self.patch)),) * 2
        if pitch == (1, 1):
            return images
        return F.Pooling(images, kernel=pitch, stride=pitch, pool_type="avg")

    def crop_patch(self, F: Any, level: Any, location: Any, side: float) -> Any:
        """Squares of a side around locations (N, 2), zero outside: (N, 3, patch, patch).

        In coordinates of locations the image spans -1 to 1, so that its share of the image's side
        is half the side of a square.
        """
        shape = F.cast(F.slice_axis(F.shape_array(level), axis=0, begin=2, end=4), "float32")
        shape = F.reshape(F.reverse(shape, axis=0), shape=(1, 2))  # width, height
        stretch = shape / (shape - 1)  # from edges at -1 and 1 to the middles of pixels there
        extent = F.ones_like(location) * (side * (self.patch - 1) / self.patch)
        center, extent = F.broadcast_mul(location, stretch), F.broadcast_mul(extent, stretch)
        return crop(F, level, center, extent, self.patch)

    def hybrid_forward(self, F: Any, windows: Any) -> Any:
        return self.backbone(windows)
