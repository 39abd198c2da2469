"""Make the small samples of data/sample from the published data sets.

    python data/make_sample.py --cifar10 FOLDER --mnist FOLDER --imagenet FOLDER --detail

A sample has the file layout of its data set. MANIFEST.json lists its files with their SHA-256 and
marks the folder as a sample for the loaders.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import cifar, published
from gluon_attention.datasets.detail import CLASSES as SCENES
from gluon_attention.datasets.detail import STRIPES, scenes
from gluon_attention.datasets.image_folder import scan
from gluon_attention.datasets.mnist import read_split
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.sampling import hold_out
from gluon_attention.storage.atomic import write_bytes

import cv2
import numpy as np

# Differences of neighbouring pixels, along and across rows, compress best.
XZ_FILTERS = [
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_DELTA, "dist": 32},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME},
]
# Each class unites four of ImageNet: pictures of three are for train/, of one for val/.
CLASSES = [
    ("n01503061", "bird", "n01530575 n01558993 n02007558 n02056570"),
    ("n01661091", "reptile", "n01667114 n01692333 n01698640 n01729977"),
    ("n02084071", "dog", "n02086240 n02094114 n02106662 n02110185"),
    ("n02159955", "insect", "n02165105 n02236044 n02268853 n02281406"),
]


def sample_cifar10(source: Path, target: Path, train: int, test: int) -> None:
    """Images of balanced classes from all training files, and from the test file."""
    source = cifar.locate(cifar.CIFAR10, source)
    target = target / cifar.CIFAR10.folder
    counts = {}
    for name, checksums, count in (
        ("data_batch_1.bin", cifar.CIFAR10.train, train),
        ("test_batch.bin", cifar.CIFAR10.test, test),
    ):
        content = b"".join(
            published.read_verified(source, file, sha1) for file, sha1 in checksums.items()
        )
        records = np.frombuffer(content, np.uint8).reshape(-1, 1 + cifar.PIXELS)
        sample = records[hold_out(records[:, 0], count, seed=0)[1]]
        write_bytes(str(target / f"{name}.xz"), lzma.compress(sample.tobytes(), filters=XZ_FILTERS))
        counts[f"{name}.xz"] = count
    names = (source / cifar.CIFAR10.names).read_bytes()
    write_bytes(str(target / cifar.CIFAR10.names), names)
    write_manifest(target, counts)


def sample_mnist(source: Path, target: Path, train: int, test: int) -> None:
    """Digits in the proportions of the data set's classes."""
    counts = {}
    for split, count in (("train", train), ("t10k", test)):
        images, labels = read_split(source, split)
        rows = hold_out(labels, count, seed=0)[1]
        for name, array in (
            (f"{split}-images-idx3-ubyte.gz", images[rows]),
            (f"{split}-labels-idx1-ubyte.gz", labels[rows]),
        ):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            content = gzip.compress(header + array.tobytes(), 9, mtime=0)
            write_bytes(str(target / name), content)
            counts[name] = count
    write_manifest(target, counts)


def sample_imagenet(source: Path, target: Path, side: int) -> None:
    """A few pictures in the layout of ImageNet, for tests only."""
    paths = {path.parent.name: path for path in scan(source / "val")[0]}
    for wnid, _, members in CLASSES:
        for number, member in enumerate(members.split()):
            picture = decode(paths[member].read_bytes(), str(paths[member]))
            scale = min(1.0, side / min(picture.shape[:2]))
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
            content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)[1]
            folder = target / ("val" if number == 3 else "train") / wnid
            write_bytes(str(folder / paths[member].name), content.tobytes())
    lines = "".join(f"{wnid} {name}\n" for wnid, name, _ in CLASSES)
    write_bytes(str(target / "synsets.txt"), lines.encode())


def sample_detail(target: Path) -> None:
    """A generated scene of each shape, which no network of the package was trained on."""
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    images, labels, _ = scenes(16, 192, 64, seed=2**31, radius=(0.4, 0.6))
    for label in range(0, len(SCENES), 1 + len(STRIPES)):
        scene = images[np.flatnonzero(labels == label)[0]].transpose(1, 2, 0)
        content = cv2.imencode(".png", cv2.cvtColor(scene, cv2.COLOR_RGB2BGR), smallest)[1]
        write_bytes(str(target / f"{SCENES[label]}.png"), content.tobytes())


def write_manifest(folder: Path, counts: dict) -> None:
    """List the files of a sample with their checksums and numbers of images or labels."""
    entries = {
        name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(), "count": count}
        for name, count in counts.items()
    }
    text = json.dumps({"files": entries}, indent=2) + "\n"
    write_bytes(str(folder / published.MANIFEST), text.encode())


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar10", type=Path, help="folder of cifar-10-batches-bin/")
    parser.add_argument("--mnist", type=Path, help="folder of the four IDX files")
    parser.add_argument("--imagenet", type=Path, help="folder of val/<wnid>/*.JPEG")
    parser.add_argument("--detail", action="store_true", help="generated scenes")
    default = Path(__file__).resolve().parent / "sample"
    parser.add_argument("--output", type=Path, default=default, help="folder of the samples")
    args = parser.parse_args()
    try:
        if args.cifar10:
            sample_cifar10(args.cifar10, args.output / "cifar10", 2500, 500)
        if args.mnist:
            sample_mnist(args.mnist, args.output / "mnist", 3000, 1000)
        if args.imagenet:
            sample_imagenet(args.imagenet, args.output / "imagenet", 160)
        if args.detail:
            sample_detail(args.output / "detail")
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path
        raise UserError(str(error)) from None


if __name__ == "__main__":
    command(main)
