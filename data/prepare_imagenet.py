"""Pack folders of ImageNet into train.rec and val.rec, which read faster from disks and networks.

    python data/prepare_imagenet.py --from FOLDER --data-dir data/imagenet --resize 480

FOLDER has train/<wnid>/*.JPEG, val/<wnid>/*.JPEG or both, as ILSVRC's archives give them once they
are unpacked and the validation pictures are sorted into folders. Pictures are packed in random
order, with .idx and .lst files beside, and a synsets.txt that gives the order of the labels.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Dict

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import published as files
from gluon_attention.datasets.image_folder import scan
from gluon_attention.datasets.imagenet import read_synsets
from gluon_attention.datasets.pictures import decode
from gluon_attention.storage.atomic import written_aside

import cv2
import mxnet as mx
import numpy as np

CHUNK = 1024  # pictures in memory
ENDS = (".rec", ".idx", ".lst")  # replaced from the last on: a set is there once its .rec is


def shrunk(path: Path, side: int, quality: int) -> bytes:
    """A JPEG with its short side no longer than `side`; the file as it is when that holds."""
    content = path.read_bytes()
    picture = decode(content, str(path))
    scale = side / min(picture.shape[:2]) if side else 1
    if scale >= 1:
        return content
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def pack(source: Path, target: Path, index: Dict[str, int], args: argparse.Namespace) -> int:
    """Pack one folder of classes into `target`.rec, .idx and .lst; returns how many pictures."""
    paths, labels, _ = scan(source, index)
    order = np.random.default_rng(0).permutation(len(paths))
    with ExitStack() as stack:
        aside = {end: stack.enter_context(written_aside(f"{target}{end}")) for end in ENDS}
        writer = mx.recordio.MXIndexedRecordIO(aside[".idx"], aside[".rec"], "w")
        stack.callback(writer.close)
        listing = stack.enter_context(open(aside[".lst"], "w"))
        pool = stack.enter_context(ThreadPoolExecutor(args.workers))
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            packed = pool.map(lambda row: shrunk(paths[row], args.resize, args.quality), rows)
            for key, (row, content) in enumerate(zip(rows, packed), start):
                header = mx.recordio.IRHeader(0, float(labels[row]), key, 0)
                writer.write_idx(key, mx.recordio.pack(header, content))
                listing.write(f"{key}\t{labels[row]}\t{paths[row].relative_to(source)}\n")
    return len(paths)


def classes_of(folder: Path) -> Dict[str, str]:
    """Name of each wnid: of synsets.txt, or of the folders in sorted order."""
    present = [folder / part for part in ("train", "val") if (folder / part).is_dir()]
    if not present:
        raise UserError(
            f"{folder} has no train/ or val/ folder; --from needs one with <wnid>/*.JPEG"
        )
    return read_synsets(folder) or {wnid: wnid for wnid in scan(present[0])[2]}


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--from", type=Path, dest="source", metavar="FOLDER", required=True, help="has train/, val/"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/imagenet"), help="where to put the packed files"
    )
    parser.add_argument("--resize", type=int, default=0, help="longest short side, 0 to keep all")
    parser.add_argument("--quality", type=int, default=95, help="of resized JPEGs, 1 to 100")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads")
    args = parser.parse_args()
    try:
        if args.resize < 0 or not 1 <= args.quality <= 100 or not 1 <= args.workers <= 512:
            raise UserError("--resize must be 0 or more, --quality 1 to 100, --workers 1 to 512")
        names = classes_of(args.source)
        args.data_dir.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{wnid} {name}\n" for wnid, name in names.items())
        files.write(args.data_dir / "synsets.txt", text.encode())
        index = {wnid: label for label, wnid in enumerate(names)}
        for part in ("train", "val"):
            if (args.source / part).is_dir():
                count = pack(args.source / part, args.data_dir / part, index, args)
                print(f"{args.data_dir / part}.rec: {count} pictures")
    except (OSError, ValueError) as error:  # a path can hold what no name may
        raise UserError(str(error)) from None


if __name__ == "__main__":
    command(main)
