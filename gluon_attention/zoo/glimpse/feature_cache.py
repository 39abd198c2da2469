"""Features of a frozen visual network: computed once, kept on disk, read instead of images.

Those of a picture are a file, `<folder>/<key>/<name>`: float16 behind their digest. The key comes
from the weights and sizes of the network, the name from the picture and its view: other weights
never read them, other splits of the data do. A file that is cut off, or does not hold what its
digest says, is computed again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ...datasets.sampling import Samples, Splits
from ...storage.atomic import remove_leftovers, written_aside

BATCH, DIGEST = 16, 16  # images computed at once; bytes


def with_cached_features(
    net: Any, splits: Splits, folder: str, device: mx.Context, test: bool = False
) -> Splits:
    """The splits with features in place of the images of the training and validation sets.

    Args:
        net: has weights and is not going to change what `net.encode` gives.
        splits: of images that are not augmented: each is seen once.
        folder: where features of all networks and data sets are kept.
        test: read features of the test set too; otherwise its images stay.
    """
    memory, changed = FeatureCache(net, folder, device), {}
    for name in ("train", "validation", "test")[: 3 if test else 2]:
        samples = getattr(splits, name)
        changed[name] = replace(samples, load=memory.of(samples, name), images=samples)
    return splits._replace(**changed)


def fast(block: gluon.HybridBlock, device: mx.Context) -> Callable[[nd.NDArray], nd.NDArray]:
    """A copy of a block for inference alone, fused where this build of MXNet can."""
    twin = copy.deepcopy(block)
    twin.collect_params().reset_ctx(device)
    fused = device.device_type == "cpu" and mx.runtime.Features().is_enabled("MKLDNN")
    twin.hybridize(static_alloc=True, **(dict(backend="MKLDNN") if fused else {}))
    return twin


class FeatureCache:
    """Features of pictures that one network computes, in a folder."""

    def __init__(self, net: Any, folder: str, device: mx.Context) -> None:
        self.net, self.device, self.see = net, device, fast(net.encoder, device)
        weights = _weights(net.encoder)
        self.kinds = net.feature_specs()
        self.folders = [os.path.join(folder, _key(kind, weights)) for kind in self.kinds]
        for place in self.folders:
            os.makedirs(place, exist_ok=True)
            remove_leftovers(place, age=3600)  # another run may be filling it

    def of(self, samples: Samples, name: str) -> Callable[..., np.ndarray]:
        """A function that loads features (n, C, cells) of rows; all are there when it is given."""
        identities = (samples.identity(row) for row in range(len(samples)))
        files = [hashlib.sha256(identity).hexdigest()[:32] for identity in identities]
        for kind in range(len(self.kinds)):
            lacking = [row for row, file in enumerate(files) if self._read(kind, file) is None]
            started = time.time()
            for first in range(0, len(lacking), BATCH):
                rows = lacking[first : first + BATCH]
                self._compute(kind, samples, files, rows)
                if first // BATCH % 8 == 7 or first + BATCH >= len(lacking):
                    done, seconds = first + len(rows), time.time() - started
                    told = f"{name}, {kind + 1} of {len(self.kinds)}: features of {done}"
                    print(f"{told}/{len(lacking)} in {seconds:.0f} s", flush=True)

        def load(rows: np.ndarray, rng: Any = None) -> np.ndarray:
            found = [self._load(kind, samples, files, rows) for kind in range(len(self.kinds))]
            return np.concatenate(found, axis=2).astype(np.float32)

        return load

    def _load(self, kind: int, samples: Samples, files: List[str], rows: np.ndarray) -> np.ndarray:
        found = {row: self._read(kind, files[row]) for row in rows}
        lost = [row for row, features in found.items() if features is None]
        if lost:
            self._compute(kind, samples, files, lost)
            found.update({row: self._read(kind, files[row]) for row in lost})
        return np.stack([found[row] for row in rows])

    def _read(self, kind: int, file: str) -> Optional[np.ndarray]:
        """What a file holds (C, cells); None where it is missing or broken."""
        path = os.path.join(self.folders[kind], file)
        try:
            with open(path, "rb") as opened:
                content = opened.read()
        except FileNotFoundError:
            return None
        if _digest(content[DIGEST:]) != content[:DIGEST]:
            print(f"{path} is damaged; its features are computed again", flush=True)
            os.remove(path)
            return None
        shape = self.kinds[kind]["shape"]
        return np.frombuffer(content, np.float16, offset=DIGEST).reshape(shape[0], -1)

    def _compute(self, kind: int, samples: Samples, files: List[str], rows: Sequence[int]) -> None:
        images = samples.load(np.asarray(rows), np.random.default_rng(0))
        images = nd.array(images, ctx=self.device)
        found = self.net.encode(images, self.kinds[kind], self.see).asnumpy()
        for row, features in zip(rows, found.astype(np.float16)):
            content = features.tobytes()
            path = os.path.join(self.folders[kind], files[row])
            with written_aside(path) as aside, open(aside, "wb") as file:
                file.write(_digest(content) + content)


def _weights(block: gluon.Block) -> bytes:
    digest = hashlib.sha256()
    for name, parameter in sorted(block._collect_params_with_prefix().items()):
        digest.update(name.encode() + parameter.list_data()[0].asnumpy().tobytes())
    return digest.digest()


def _key(kind: Dict[str, Any], weights: bytes) -> str:
    """Of everything but the picture that features depend on."""
    sizes = json.dumps(kind, sort_keys=True).encode()
    return hashlib.sha256(sizes + weights).hexdigest()[:16]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST]
