"""The data of a picture of attention."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence

import numpy as np
from mxnet import nd

BLANK = 70  # gray level of unseen pixels


class Scene(NamedTuple):
    """One image, and the trace of a network on it."""

    image: np.ndarray  # (H, W, 3) uint8
    trace: Any  # of the batch that the image is in
    index: int  # of the image in that batch
    mean: Sequence[float] = (0.0,)  # that the pixels were normalised with
    std: Sequence[float] = (1.0,)
    channel: Optional[int] = None  # the channel of masks to draw; None for the mean of all
    names: Sequence[str] = ()  # of the classes

    def values(self, array: nd.NDArray) -> np.ndarray:
        """The image's part of an array of the trace."""
        # numpy has no bfloat16 and would read its bits as integers.
        return array.astype("float32")[self.index].asnumpy()

    def label(self, step: int, logits: np.ndarray) -> str:
        """The class with the largest probability after a step, and that probability."""
        probabilities = nd.softmax(nd.array(logits)).asnumpy()
        best = probabilities.argmax()
        name = self.names[best][:18] if len(self.names) else best  # as much as fits
        return f"{step + 1}: {name} {100 * probabilities[best]:.0f} %"
