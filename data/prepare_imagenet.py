"""Pack folders of ImageNet into train.rec and val.rec, which load faster from disks and networks.

    python data/prepare_imagenet.py --from FOLDER --data-dir data/imagenet --resize 480

FOLDER has train/<wnid>/*.JPEG, val/<wnid>/*.JPEG or both: the unpacked archives of ILSVRC, with the
validation pictures sorted into folders. Pictures are packed in random order, with an .idx file
beside each .rec file and a synsets.txt that lists the classes in the order of their labels.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Optional

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets.image_folder import scan
from gluon_attention.datasets.imagenet import read_synsets
from gluon_attention.datasets.pictures import MAX_SIDE, decode
from gluon_attention.fields import number
from gluon_attention.storage.atomic import atomic_file, write_bytes

import cv2
import mxnet as mx
import numpy as np

CHUNK = 1024  # pictures in memory
ENDS = (".rec", ".idx")  # the .rec replaces its old file last: then the set is complete


def read_resized(path: Path, side: Optional[int], quality: int) -> bytes:
    """A file, as a smaller JPEG if its short side is longer than `side`."""
    content = path.read_bytes()
    picture = decode(content, str(path))
    if side is None or side >= min(picture.shape[:2]):
        return content
    scale = side / min(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def pack(source: Path, target: Path, index: Dict[str, int], args: argparse.Namespace) -> int:
    """Pack a folder of classes into `target`.rec and .idx; returns the number of pictures."""
    paths, labels, _ = scan(source, index)
    order = np.random.default_rng(0).permutation(len(paths))
    with ExitStack() as stack:
        temporary = {end: stack.enter_context(atomic_file(f"{target}{end}")) for end in ENDS}
        writer = mx.recordio.MXIndexedRecordIO(temporary[".idx"], temporary[".rec"], "w")
        stack.callback(writer.close)
        pool = stack.enter_context(ThreadPoolExecutor(args.workers))
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            packed = pool.map(lambda row: read_resized(paths[row], args.resize, args.quality), rows)
            for key, (row, content) in enumerate(zip(rows, packed), start):
                header = mx.recordio.IRHeader(0, float(labels[row]), key, 0)
                writer.write_idx(key, mx.recordio.pack(header, content))
    return len(paths)


def classes_of(folder: Path) -> Dict[str, str]:
    """Name of each wnid in the order of the labels: synsets.txt, or the sorted folders."""
    present = [folder / part for part in ("train", "val") if (folder / part).is_dir()]
    if not present:
        raise UserError(
            f"{folder} has no train/ or val/ folder; --from needs one with <wnid>/*.JPEG"
        )
    return read_synsets(folder) or {wnid: wnid for wnid in scan(present[0])[2]}


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FOLDER",
        required=True,
        help="folder of train/ and val/",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/imagenet"), help="folder of the packed files"
    )
    for flag, high, default, help in (
        ("--resize", MAX_SIDE, None, "longest short side in pixels (default: no resizing)"),
        ("--quality", 100, 95, "JPEG quality of resized pictures (default: 95)"),
        ("--workers", 512, os.cpu_count() or 1, "number of threads (default: all cores)"),
    ):
        parser.add_argument(
            flag, type=number(int, 1, high), default=default, metavar="N", help=help
        )
    args = parser.parse_args()
    try:
        names = classes_of(args.source)
        args.data_dir.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{wnid} {name}\n" for wnid, name in names.items())
        write_bytes(str(args.data_dir / "synsets.txt"), text.encode())
        index = {wnid: label for label, wnid in enumerate(names)}
        for part in ("train", "val"):
            if (args.source / part).is_dir():
                count = pack(args.source / part, args.data_dir / part, index, args)
                print(f"{args.data_dir / part}.rec: {count} pictures")
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path
        raise UserError(str(error)) from None


if __name__ == "__main__":
    command(main)
