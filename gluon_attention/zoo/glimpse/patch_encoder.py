"""The encoder of the glimpse network, and the square patches of an image that it encodes."""

from __future__ import annotations

from typing import Any, Tuple

from mxnet import gluon, nd, sym

from ... import native
from ...ops.crop import crop
from ..backbones import backbone as build_backbone
from .options import EncoderOptions


class PatchEncoder(native.NativeBlock, gluon.HybridBlock):
    """A backbone on patches: (N, 3, patch, patch) to feature maps (N, channels, *cells).

    `crop_patch(F, downscaled(F, images, side), location, side)` crops the patches. Images are
    downscaled once for all glimpses, to the resolution of a patch, so that no pixel is skipped.

    Attributes:
        sides: of the patches of a glimpse, as shares of the image's side, the smallest first.
        size: usual side of the images; the patches of larger ones skip pixels.
        channels: of the feature maps.
        cells: height and width of the feature map of a patch.
    """

    def __init__(self, options: EncoderOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone_name, self.stem_stride = options.backbone, options.stem_stride
        self.patch, self.size, self.sides = options.patch, options.image_size, options.sides
        with self.name_scope():
            self.backbone = build_backbone(options.backbone, stem_stride=options.stem_stride)
        self.channels = self.backbone.channels
        shape = (1, 3, self.patch, self.patch)
        self.backbone.infer_shape(nd.zeros(shape))
        outputs = self.backbone(sym.var("patches")).infer_shape(patches=shape)[1]
        self.cells: Tuple[int, int] = outputs[0][2:]

    def downscaled(self, F: Any, images: Any, side: float) -> Any:
        """Images averaged down to the resolution of a patch of that side."""
        factor = (max(1, round(side * self.size / self.patch)),) * 2
        if factor == (1, 1):
            return images
        return F.Pooling(images, kernel=factor, stride=factor, pool_type="avg")

    def crop_patch(self, F: Any, images: Any, location: Any, side: float) -> Any:
        """Squares centred at locations (N, 2), zero outside of the image: (N, 3, patch, patch).

        The edges of an image are at -1 and 1 here, while `ops.crop` has the centres of its corner
        pixels there.
        """
        shape = F.cast(F.slice_axis(F.shape_array(images), axis=0, begin=2, end=4), "float32")
        shape = F.reshape(F.reverse(shape, axis=0), shape=(1, 2))  # width, height
        stretch = shape / (shape - 1)
        extent = F.ones_like(location) * (side * (self.patch - 1) / self.patch)
        center, extent = F.broadcast_mul(location, stretch), F.broadcast_mul(extent, stretch)
        return crop(F, images, center, extent, self.patch)

    def hybrid_forward(self, F: Any, patches: Any) -> Any:
        return self.backbone(patches)

    def lower(self, program: native.Program) -> native.Lowered:
        """Add the backbone to a program of the native library."""
        return self.backbone.lower(program)
