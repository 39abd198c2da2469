"""The encoder of the glimpse network, and the square patches of an image that it encodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Tuple

from mxnet import gluon, nd, sym

from ... import native
from ...errors import UserError
from ...fields import field
from ...ops.crop import crop
from ..backbones import backbone as build_backbone


@dataclass(frozen=True)
class EncoderOptions:
    """Options of the encoder, which both stages of training share."""

    backbone: str = field("resnet50_v1", "backbone, by its name in Gluon's model zoo")
    patch: int = field(96, "side of the patches in pixels", low=16, high=1024)
    size: Optional[int] = field(
        None, "side of the images in pixels, None for four patches", low=16, high=4096
    )
    stem_stride: Optional[int] = field(
        1, "stride of the first convolution, None for the backbone's own", low=1, high=8
    )
    patches: int = field(
        2, "number of patches of a glimpse, each twice as wide as the one before", low=1, high=3
    )
    start_size: int = field(
        2, "side of the first patch in quarters of the image's side", choices=(1, 2, 4)
    )
    frozen_bn: bool = field(True, "BatchNorm with the statistics and scales that were loaded")

    @property
    def image_size(self) -> int:
        """Side of the images in pixels; by default a quarter of an image fills a patch."""
        return self.size or 4 * self.patch

    @property
    def sides(self) -> Tuple[float, ...]:
        """Sides of the patches of a glimpse, as shares of the image's side."""
        if self.start_size * 2 ** (self.patches - 1) > 4:
            raise UserError(
                f"patches={self.patches} with start_size={self.start_size} exceeds the image: "
                "start_size=1 takes 1 to 3 patches, start_size=2 takes 1 or 2, start_size=4 takes 1"
            )
        return tuple(self.start_size * 2**number / 4 for number in range(self.patches))


class PatchEncoder(native.Trainable, gluon.HybridBlock):
    """A backbone on patches: (N, 3, patch, patch) to feature maps (N, channels, *cells).

    `crop_patch(F, downscaled(F, images, side), location, side)` crops the patches. Images are
    downscaled once for all glimpses, to pixels as large as those of a patch: none is skipped.

    Attributes:
        sides: of the patches of a glimpse, as shares of the image's side, the smallest first.
        size: usual side of the images; larger ones work, too, but are downscaled less than a patch.
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
        """Images averaged to pixels as large as those of a patch of that side."""
        factor = (max(1, round(side * self.size / self.patch)),) * 2
        if factor == (1, 1):
            return images
        return F.Pooling(images, kernel=factor, stride=factor, pool_type="avg")

    def crop_patch(self, F: Any, images: Any, location: Any, side: float) -> Any:
        """Squares of a side centred at locations (N, 2), zero outside: (N, 3, patch, patch).

        The edges of an image are at -1 and 1 here, but the centres of its corner pixels in
        `ops.crop`.
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
        """Write the backbone down for the native library."""
        return self.backbone.lower(program)
