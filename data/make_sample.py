"""Cut the small samples that ship in data/sample out of the published data sets.

    python data/make_sample.py --cifar10 FOLDER --mnist FOLDER --imagenet FOLDER

Each sample keeps the layout of its set. MANIFEST.json lists its files with their sha256, and tells
the loaders that this is a sample.
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
from gluon_attention.datasets.image_folder import scan
from gluon_attention.datasets.mnist import read_split
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.sampling import hold_out

import cv2
import numpy as np

# Differences of neighbours, along a row and from row to row, compress best.
XZ = [
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_DELTA, "dist": 32},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME},
]
# One class above those of ImageNet, and four of them: three to train on, one for val/.
KINDS = [
    ("n01503061", "bird", "n01530575 n01558993 n02007558 n02056570"),
    ("n01661091", "reptile", "n01667114 n01692333 n01698640 n01729977"),
    ("n02084071", "dog", "n02086240 n02094114 n02106662 n02110185"),
    ("n02159955", "insect", "n02165105 n02236044 n02268853 n02281406"),
]


def sample_cifar10(source: Path, target: Path, train: int, test: int) -> None:
    """The same number of images of every class, from all training files and from the test file."""
    source = cifar.locate(cifar.CIFAR10, source)
    target = target / cifar.CIFAR10.folder
    counts = {}
    for name, wanted, count in (
        ("data_batch_1.bin", cifar.CIFAR10.train, train),
        ("test_batch.bin", cifar.CIFAR10.test, test),
    ):
        content = b"".join(
            published.read_verified(source, file, sha1) for file, sha1 in wanted.items()
        )
        records = np.frombuffer(content, np.uint8).reshape(-1, 1 + cifar.PIXELS)
        chosen = records[hold_out(records[:, 0], count, seed=0)[1]]
        published.write_file(target / f"{name}.xz", lzma.compress(chosen.tobytes(), filters=XZ))
        counts[f"{name}.xz"] = count
    names = (source / cifar.CIFAR10.names).read_bytes()
    published.write_file(target / cifar.CIFAR10.names, names)
    write_manifest(target, counts)


def sample_mnist(source: Path, target: Path, train: int, test: int) -> None:
    """Digits with the shares that the classes have in the set."""
    counts = {}
    for split, count in (("train", train), ("t10k", test)):
        images, labels = read_split(source, split)
        chosen = hold_out(labels, count, seed=0)[1]
        for name, array in (
            (f"{split}-images-idx3-ubyte.gz", images[chosen]),
            (f"{split}-labels-idx1-ubyte.gz", labels[chosen]),
        ):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            packed = gzip.compress(header + array.tobytes(), 9, mtime=0)
            published.write_file(target / name, packed)
            counts[name] = count
    write_manifest(target, counts)


def sample_imagenet(source: Path, target: Path, side: int) -> None:
    """A few pictures in the folders of ImageNet, for tests and smoke runs only."""
    paths = {path.parent.name: path for path in scan(source / "val")[0]}
    for wnid, _, members in KINDS:
        for number, member in enumerate(members.split()):
            picture = decode(paths[member].read_bytes(), str(paths[member]))
            scale = min(1.0, side / min(picture.shape[:2]))
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
            packed = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)[1]
            folder = target / ("val" if number == 3 else "train") / wnid
            published.write_file(folder / paths[member].name, packed.tobytes())
    lines = "".join(f"{wnid} {name}\n" for wnid, name, _ in KINDS)
    published.write_file(target / "synsets.txt", lines.encode())


def write_manifest(folder: Path, counts: dict) -> None:
    """List the files of a sample: checksum, and how many images or labels each has."""
    entries = {
        name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(), "count": count}
        for name, count in counts.items()
    }
    text = json.dumps({"files": entries}, indent=2) + "\n"
    published.write_file(folder / published.MANIFEST, text.encode())


def main() -> None:
    parser = Parser(description="Cut the samples of data/sample.")
    parser.add_argument("--cifar10", type=Path, help="folder with cifar-10-batches-bin/")
    parser.add_argument("--mnist", type=Path, help="folder with the four IDX files")
    parser.add_argument("--imagenet", type=Path, help="folder with val/<wnid>/*.JPEG")
    here = Path(__file__).resolve().parent
    parser.add_argument("--output", type=Path, default=here / "sample")
    args = parser.parse_args()
    try:
        if args.cifar10:
            sample_cifar10(args.cifar10, args.output / "cifar10", 2500, 500)
        if args.mnist:
            sample_mnist(args.mnist, args.output / "mnist", 3000, 1000)
        if args.imagenet:
            sample_imagenet(args.imagenet, args.output / "imagenet", 160)
    except (OSError, ValueError) as error:  # a path can hold what no name may
        raise UserError(str(error)) from None


if __name__ == "__main__":
    command(main)
