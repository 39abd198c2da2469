"""CIFAR-10 and CIFAR-100 from their binary files, with augmentation of whole batches."""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import UserError, check_choice
from ..storage.atomic import write_bytes
from . import published
from .sampling import Normalise, Samples, Splits, array_samples, hold_out, register
from .view import CIFAR_VIEW

MEAN, STD = CIFAR_VIEW.mean, CIFAR_VIEW.std
PIXELS = 3 * 32 * 32
FLIPS = ("random", "alternating")
PADDINGS = {"black": "constant", "reflect": "reflect"}  # mode of np.pad


class Archive(NamedTuple):
    """The published files, and the layout of their records: label bytes, then pixels."""

    folder: str
    train: Dict[str, str]  # file name: SHA-1
    test: Dict[str, str]
    names: str  # file of class names, one a line
    classes: int
    header: int  # number of label bytes in a record, the last of which is used
    url: str
    md5: str


CIFAR10 = Archive(
    "cifar-10-batches-bin",
    {
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    },
    {"test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c"},
    "batches.meta.txt",
    classes=10,
    header=1,
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)
CIFAR100 = Archive(
    "cifar-100-binary",
    {"train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"},
    {"test.bin": "8fb6623e830365ff53cf14adec797474f5478006"},
    "fine_label_names.txt",
    classes=100,
    header=2,
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
)


@register
def cifar10(
    root: str,
    *,
    seed: int = 0,
    validation: int = 5000,
    cutout: int = 0,
    crop: int = 32,
    flip: str = "random",
    padding: str = "black",
    download: bool = True,
) -> Splits:
    """CIFAR-10; training images are padded by 4, cropped and flipped at random.

    Args:
        root: folder of the .bin files, or its parent; a download fills it.
        cutout: side of the blank square in each training image.
        crop: side of the training images; smaller ones train faster.
        flip: 'random', or 'alternating': random in the first epoch, then each image the other way
            round than in the epoch before (Jordan 2024).
        padding: 'black', or 'reflect' for the mirrored border of an image.
    """
    augment = CropFlip(Normalise(MEAN, STD), crop, cutout, padding)
    return _load(CIFAR10, root, seed, validation, augment, flip, download)


@register
def cifar100(
    root: str,
    *,
    seed: int = 0,
    validation: int = 5000,
    cutout: int = 0,
    crop: int = 32,
    flip: str = "random",
    padding: str = "black",
    download: bool = True,
) -> Splits:
    """CIFAR-100, with the options of `cifar10`."""
    augment = CropFlip(Normalise(MEAN, STD), crop, cutout, padding)
    return _load(CIFAR100, root, seed, validation, augment, flip, download)


class CropFlip:
    """Random crop, horizontal flip, normalisation and optional cutout.

    The padding lets a crop move by at least 4 pixels in each direction.
    """

    def __init__(
        self, normalise: Normalise, crop: int = 32, cutout: int = 0, padding: str = "black"
    ) -> None:
        if not 8 <= crop <= 32:
            raise UserError(f"crop must be a number of pixels from 8 to 32, not {crop}")
        if cutout < 0:
            raise UserError(f"cutout must be the side of a square in pixels, not {cutout}")
        check_choice("padding", padding, tuple(PADDINGS))
        self.normalise, self.crop, self.cutout = normalise, crop, cutout
        self.mode = PADDINGS[padding]  # of np.pad

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, flipped: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """Augmented images, those of `flipped` (N,) mirrored; a random half if None."""
        count, side = len(images), self.crop
        pad = max(0, 4 - (images.shape[2] - side) // 2)
        # Black before normalisation, as in the papers' code, not the mean colour.
        padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode=self.mode)
        windows = sliding_window_view(padded, (side, side), axis=(2, 3))
        top, left = rng.integers(windows.shape[2], size=(2, count))
        cropped = windows[np.arange(count), :, top, left]  # (N, C, side, side)
        if flipped is None:
            flipped = rng.random(count) < 0.5
        cropped[flipped] = cropped[flipped, :, :, ::-1]
        out = self.normalise(cropped)
        if self.cutout:
            self._cutout(out, rng)
        return out

    def _cutout(self, images: np.ndarray, rng: np.random.Generator) -> None:
        """Set a square around a random pixel to the mean colour; it may extend beyond the image."""
        count, _, *size = images.shape
        masks = []
        for length in size:
            start = rng.integers(length, size=(count, 1)) - self.cutout // 2
            position = np.arange(length)
            masks.append((position >= start) & (position < start + self.cutout))  # (N, length)
        rows, columns = masks
        images *= ~(rows[:, None, :, None] & columns[:, None, None, :])


def fetch(archive: Archive, root: Path) -> None:
    """Download and unpack an archive to `root`."""
    files = expected_files(archive)
    unpack(archive, published.download([archive.url], archive.md5, root, files), root)


def unpack(archive: Archive, content: bytes, root: Path) -> None:
    """Unpack the data set's files from a .tar.gz; each is written atomically."""
    folder = root / archive.folder
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
            for name in (*archive.train, *archive.test, archive.names):
                member = tar.extractfile(f"{archive.folder}/{name}")
                write_bytes(str(folder / name), member.read())
    except (tarfile.TarError, KeyError, EOFError, zlib.error):
        raise UserError(
            f"this archive is not {Path(archive.url).name}, or is cut off; download it again"
        ) from None


def expected_files(archive: Archive) -> str:
    """The files of a data set, for a message."""
    names = ", ".join([*archive.train, *archive.test])
    return f"{archive.folder}/ with {names} (or .bin.xz)"


def locate(archive: Archive, root: Path) -> Path:
    """Folder of the .bin files: `root`, or the archive's folder in it, which may not exist yet."""
    return root if published.find_file(root, next(iter(archive.test))) else root / archive.folder


def _load(
    archive: Archive,
    root: str,
    seed: int,
    validation: int,
    augment: CropFlip,
    flip: str,
    download: bool,
) -> Splits:
    folder, is_sample = find_files(archive, Path(root), download)
    images, labels = _read(archive, folder, archive.train, is_sample)
    test_images, test_labels = _read(archive, folder, archive.test, is_sample)
    train, held_out = hold_out(labels, validation, seed, tenth=is_sample)
    plain, classes = Normalise(MEAN, STD), archive.classes
    return Splits(
        _train_samples(images[train], labels[train], classes, augment, flip, seed),
        array_samples(images[held_out], labels[held_out], classes, transform=plain),
        array_samples(test_images, test_labels, classes, transform=plain),
        classes=_class_names(folder / archive.names, classes),
        mean=MEAN,
        std=STD,
        view=CIFAR_VIEW,
    )


def find_files(archive: Archive, root: Path, download: bool) -> Tuple[Path, bool]:
    """The folder of the .bin files, downloaded if needed, and whether they are a sample."""
    folder = locate(archive, root)
    is_sample = published.read_manifest(folder) is not None
    names = (*archive.train, *archive.test)
    if not is_sample and not all(published.find_file(folder, name) for name in names):
        if not download:
            raise published.missing_files(root, expected_files(archive))
        fetch(archive, root)
        folder = locate(archive, root)
    return folder, is_sample


def _train_samples(
    images: np.ndarray, labels: np.ndarray, classes: int, augment: CropFlip, flip: str, seed: int
) -> Samples:
    """Augmented samples; alternating flips are a pure function of seed, epoch and row."""
    check_choice("flip", flip, FLIPS)
    samples = array_samples(images, labels, classes, transform=augment)
    if flip == "random":
        return samples
    first = np.random.default_rng([seed, 0, 0, 2]).random(len(images)) < 0.5

    def load_epoch(epoch: int, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return augment(images[rows], rng, first[rows] ^ bool(epoch % 2))

    return replace(samples, load_epoch=load_epoch)


def _read(
    archive: Archive, folder: Path, checksums: Dict[str, str], is_sample: bool
) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels (N,) of some files; a sample may lack some."""
    parts: List[np.ndarray] = []
    for name, sha1 in checksums.items():
        if is_sample and published.find_file(folder, name) is None:
            continue
        content = published.read_verified(folder, name, sha1)
        if not content or len(content) % (archive.header + PIXELS):
            raise UserError(
                f"{folder / name} has {len(content)} bytes, not records of "
                f"{archive.header + PIXELS}; it is cut off or another file"
            )
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, archive.header + PIXELS))
    if not parts:
        raise published.missing_files(folder, expected_files(archive))
    images = np.concatenate([records[:, archive.header :] for records in parts])
    labels = np.concatenate([records[:, archive.header - 1] for records in parts])
    return images.reshape(-1, 3, 32, 32), labels


def _class_names(path: Path, classes: int) -> Sequence[str]:
    """Class names, or numbers if the file of names is missing."""
    if not path.is_file():
        return [str(index) for index in range(classes)]
    names = [line.strip() for line in published.read_lines(path) if line.strip()]
    if len(names) != classes:
        raise UserError(f"{path} names {len(names)} classes; there are {classes}")
    return names
