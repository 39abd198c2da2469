"""Features of a frozen encoder: computed once, cached on disk, read in place of images.

The features of an image are a file, `<folder>/<key>/<name>`: a digest, then float16. The key
depends on the weights and sizes of the encoder, the name on the image and its view. So an encoder
with other weights never reads the file, while other splits of the data share it. A file that does
not match its digest is computed again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ...storage.atomic import remove_leftovers, write_bytes

if TYPE_CHECKING:
    from ...datasets.sampling import Samples, Splits
    from .network import GlimpseNet

BATCH = 16  # images encoded at once
DIGEST = 16  # bytes before the features in a file


def with_cached_features(
    net: GlimpseNet, splits: Splits, folder: str, device: mx.Context, test: bool = False
) -> Splits:
    """The splits with features in place of the images of the training and validation sets.

    Args:
        net: with weights and a frozen encoder.
        splits: of images without augmentation, as each is encoded once.
        folder: parent folder of the features of all networks and data sets.
        test: also replace the images of the test set.
    """
    cache = FeatureCache(net, folder, device)
    cached: Dict[str, Samples] = {}
    for name in ("train", "validation", "test")[: 3 if test else 2]:
        samples = getattr(splits, name)
        cached[name] = replace(samples, load=cache.loader(samples, name), images=samples)
    return splits._replace(**cached)


def fast_copy(block: gluon.HybridBlock, device: mx.Context) -> gluon.HybridBlock:
    """A copy of a block for inference alone, fused where this build of MXNet can."""
    twin = copy.deepcopy(block)
    twin.collect_params().reset_ctx(device)
    fused = device.device_type == "cpu" and mx.runtime.Features().is_enabled("MKLDNN")
    twin.hybridize(static_alloc=True, **(dict(backend="MKLDNN") if fused else {}))
    return twin


class FeatureCache:
    """Features of images from the encoder of one network, in a folder."""

    def __init__(self, net: GlimpseNet, folder: str, device: mx.Context) -> None:
        self.net, self.device, self.encoder = net, device, fast_copy(net.encoder, device)
        weights = _weights_digest(net.encoder)
        self.specs = net.feature_specs()
        self.folders = [os.path.join(folder, _key(spec, weights)) for spec in self.specs]
        for path in self.folders:
            os.makedirs(path, exist_ok=True)
            remove_leftovers(path, age=3600)  # another run may be writing there

    def loader(self, samples: Samples, name: str) -> Callable[..., np.ndarray]:
        """Compute missing features; return a function from rows to features (n, C, cells)."""
        identities = (samples.identity(row) for row in range(len(samples)))
        files = [hashlib.sha256(identity).hexdigest()[:32] for identity in identities]
        for spec in range(len(self.specs)):
            missing = [row for row, file in enumerate(files) if self._read(spec, file) is None]
            start = time.time()
            for first in range(0, len(missing), BATCH):
                rows = missing[first : first + BATCH]
                self._compute(spec, samples, files, rows)
                if first // BATCH % 8 == 7 or first + BATCH >= len(missing):
                    seconds = time.time() - start
                    print(
                        f"{name}, {spec + 1} of {len(self.specs)}: features of "
                        f"{first + len(rows)}/{len(missing)} in {seconds:.0f} s",
                        flush=True,
                    )

        def load(rows: np.ndarray, rng: Any = None) -> np.ndarray:
            parts = [self._load(spec, samples, files, rows) for spec in range(len(self.specs))]
            return np.concatenate(parts, axis=2).astype(np.float32)

        return load

    def _load(
        self, spec: int, samples: Samples, files: List[str], rows: Sequence[int]
    ) -> np.ndarray:
        features = {row: self._read(spec, files[row]) for row in rows}
        damaged = [row for row, array in features.items() if array is None]
        if damaged:
            self._compute(spec, samples, files, damaged)
            features.update({row: self._read(spec, files[row]) for row in damaged})
        return np.stack([features[row] for row in rows])

    def _read(self, spec: int, file: str) -> Optional[np.ndarray]:
        """The features (C, cells) of a file; None if it is missing or damaged."""
        path = os.path.join(self.folders[spec], file)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            return None
        if _digest(content[DIGEST:]) != content[:DIGEST]:
            print(f"{path} is damaged; its features are computed again", flush=True)
            os.remove(path)
            return None
        channels = self.specs[spec]["shape"][0]
        return np.frombuffer(content, np.float16, offset=DIGEST).reshape(channels, -1)

    def _compute(self, spec: int, samples: Samples, files: List[str], rows: Sequence[int]) -> None:
        images = samples.load(np.asarray(rows), np.random.default_rng(0))
        images = nd.array(images, ctx=self.device)
        features = self.net.encode(images, self.specs[spec], self.encoder).asnumpy()
        for row, array in zip(rows, features.astype(np.float16)):
            content = array.tobytes()
            path = os.path.join(self.folders[spec], files[row])
            write_bytes(path, _digest(content) + content)


def _weights_digest(block: gluon.Block) -> bytes:
    digest = hashlib.sha256()
    for name, parameter in sorted(block._collect_params_with_prefix().items()):
        digest.update(name.encode() + parameter.list_data()[0].asnumpy().tobytes())
    return digest.digest()


def _key(spec: Dict[str, Any], weights: bytes) -> str:
    """Name of the folder for features of one spec and encoder."""
    sizes = json.dumps(spec, sort_keys=True).encode()
    return hashlib.sha256(sizes + weights).hexdigest()[:16]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST]
