"""A self-contained HTML page to explore what a network attends to.

The template `page.html` has the style and the script; this module inserts the data.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
from PIL import Image

from ..errors import UserError
from ..storage.atomic import write_text
from .looks import Layer, Scene, Step, check_channel
from .pictures import scenes_of
from .tiles import COLOURS

if TYPE_CHECKING:
    from ..zoo.attention_net import AttentionNet

MOST_PICTURES = 64  # of a page
CHANNELS = 7  # of a layer, besides the mean of all
LARGEST_IMAGE, LARGEST_VIEW, LARGEST_LAYER = 448, 224, 32  # pixels a side, so that pages stay small
SHARP = 112  # smaller images are stored without loss
PREDICTIONS = 5
TEMPLATE = Path(__file__).with_name("page.html")


class Entry(NamedTuple):
    """A picture of a page."""

    name: str
    label: Optional[str] = None  # its true class, if that is known


class Page:
    """The pictures of a page, added batch by batch."""

    def __init__(self, title: str, classes: Sequence[str]) -> None:
        self.title, self.classes = title, classes
        self.pictures: List[Dict[str, Any]] = []
        self.channels: List[List[int]] = []  # of each layer, the same for all pictures

    def add(
        self,
        net: AttentionNet,
        entries: Sequence[Entry],
        images: np.ndarray,
        mean: Sequence[float],
        std: Sequence[float],
        channel: Optional[int] = None,
    ) -> None:
        """Add a batch of raw images (N, H, W, 3 or 1) uint8; see `pictures.scenes_of`."""
        if net.look is None:
            raise UserError("this network has no attention to show on a page")
        scenes = scenes_of(net, images, mean, std, channel)
        looks = [net.look(scene) for scene in scenes]
        if not self.channels:
            layers = zip(*(look.layers for look in looks))
            self.channels = [most_varying_channels(parts, channel) for parts in layers]
        for entry, scene, look in zip(entries, scenes, looks):
            layers = zip(look.layers, self.channels)
            steps = [self._step(step, scene) for step in look.steps]
            self.pictures.append(
                {
                    **entry._asdict(),
                    "size": scene.image.shape[1::-1],
                    "image": encode(scene.image, LARGEST_IMAGE),
                    "predictions": self._predictions(scene.values(scene.trace.logits)),
                    "layers": [encode_layer(*each) for each in layers],
                    "steps": steps,
                }
            )

    def save(self, path: str, report: Optional[Dict[str, Any]] = None) -> None:
        """Write the file; the template shows `report` below the pictures."""
        colours = [int(red) << 16 | int(green) << 8 | int(blue) for red, green, blue in COLOURS]
        data = dict(title=self.title, pictures=self.pictures, colours=colours, report=report)
        # In a script element nothing but `<` can end the data: `</script>`, `<!--`.
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        before, after = TEMPLATE.read_text(encoding="utf-8").split("{{data}}")
        write_text(path, before.replace("{{title}}", html.escape(self.title)) + text + after)

    def _step(self, step: Step, scene: Scene) -> Dict[str, Any]:
        height, width = scene.image.shape[:2]
        boxes = np.nan_to_num(step.boxes / ([width, height] * 2))
        return {
            "predictions": self._predictions(step.logits),
            "boxes": [[round(float(edge), 4) for edge in box] for box in boxes],
            "views": [encode(view, LARGEST_VIEW) for view in step.views],
            "heat": None if step.heat is None else encode_layer(Layer("", step.heat[None]), []),
        }

    def _predictions(self, logits: np.ndarray) -> List[Any]:
        """The most probable classes and their probabilities."""
        logits = np.nan_to_num(logits)  # JSON has neither NaN nor Inf
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:PREDICTIONS]
        return [[str(self.classes[label]), round(float(shares[label]), 4)] for label in best]


def most_varying_channels(layers: Sequence[Layer], channel: Optional[int]) -> List[int]:
    """The channels of a layer with the largest deviation over images, and the requested one."""
    count = len(layers[0].values)
    check_channel(channel, count)
    spread = np.mean([layer.values.std(axis=(1, 2)) for layer in layers], axis=0)
    channels = {*np.argsort(-spread, kind="stable")[:CHANNELS].tolist(), channel}
    return sorted(channels - {None})


def encode_layer(layer: Layer, channels: Sequence[int]) -> Dict[str, Any]:
    """The mean of all channels and some of them, one below the other in a gray picture."""
    maps = np.stack([layer.values.mean(axis=0), *layer.values[list(channels)]])
    maps = np.nan_to_num(maps)
    height, width = maps.shape[1:]
    side = max(height, width)
    if side > LARGEST_LAYER:
        size = [max(1, n * LARGEST_LAYER // side) for n in (width, height)]
        maps = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in maps])
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    scaled = (maps - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    gray = np.rint(scaled * 255).astype(np.uint8)
    ranges = [[float(f"{value:.4g}") for value in pair] for pair in zip(low, high)]
    return {
        "name": layer.name,
        "size": [width, height],
        "channels": [None, *channels],
        "ranges": ranges,
        "map": data_url(gray.reshape(-1, gray.shape[2]), "PNG"),
        "shape": gray.shape[:0:-1],
    }


def encode(picture: np.ndarray, largest: int) -> str:
    """A picture (H, W, 3) uint8, of at most so many pixels a side, as the text of a URL."""
    side = max(picture.shape[:2])
    if side > largest:
        size = [max(1, round(n * largest / side)) for n in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return data_url(picture, "PNG" if side <= SHARP else "JPEG", quality=88)


def data_url(picture: np.ndarray, form: str, **options: int) -> str:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, form, **options)
    text = base64.b64encode(content.getvalue()).decode()
    return f"data:image/{form.lower()};base64,{text}"
