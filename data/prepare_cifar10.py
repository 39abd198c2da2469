"""Download CIFAR-10 (binary version) or copy it from a folder or archive, and verify it.

python data/prepare_cifar10.py
python data/prepare_cifar10.py --from cifar-10-binary.tar.gz --data-dir data/cifar10
"""

from __future__ import annotations

from pathlib import Path

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import published
from gluon_attention.datasets.cifar import CIFAR10, fetch, locate, unpack


def copy(source: Path, target: Path) -> None:
    """Copy the verified files of a folder, decompressed if they are compressed."""
    source = locate(CIFAR10, source)
    checksums = {**CIFAR10.train, **CIFAR10.test}
    published.check_published(source, checksums)
    for name, sha1 in checksums.items():
        published.write_file(target / name, published.read_verified(source, name, sha1))
    names = published.find_file(source, CIFAR10.names)
    if names:
        published.write_file(target / CIFAR10.names, names.read_bytes())


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/cifar10"), help="folder of the data set"
    )
    parser.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FOLDER_OR_ARCHIVE",
        help="cifar-10-binary.tar.gz, or a folder of its .bin or .bin.xz files",
    )
    args = parser.parse_args()
    folder = args.data_dir / CIFAR10.folder
    try:
        if args.source is None:
            fetch(CIFAR10, args.data_dir)
        elif args.source.is_dir():
            copy(args.source, folder)
        else:
            unpack(CIFAR10, args.source.read_bytes(), args.data_dir)
        for name, sha1 in {**CIFAR10.train, **CIFAR10.test}.items():
            published.read_verified(folder, name, sha1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path
        raise UserError(str(error)) from None
    print(
        f"{folder}: {len(CIFAR10.train)} training files and {len(CIFAR10.test)} test file verified"
    )


if __name__ == "__main__":
    command(main)
