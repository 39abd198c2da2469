"""Download MNIST or copy it from a folder, and verify it.

python data/prepare_mnist.py
python data/prepare_mnist.py --from FOLDER --data-dir data/mnist
"""

from __future__ import annotations

from pathlib import Path

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import published
from gluon_attention.datasets.mnist import FILES, fetch, read_split


def copy(source: Path, folder: Path) -> None:
    """Copy the four files after their checksums are verified."""
    checksums = {name: sha1 for name, (sha1, _) in FILES.items()}
    for path in published.check_published(source, checksums).values():
        published.write_file(folder / path.name, path.read_bytes())


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data/mnist"), help="folder of the data set"
    )
    parser.add_argument(
        "--from", type=Path, dest="source", metavar="FOLDER", help="folder of the four files"
    )
    args = parser.parse_args()
    try:
        if args.source:
            copy(args.source, args.data_dir)
        else:
            fetch(args.data_dir)
        counts = [len(read_split(args.data_dir, split)[1]) for split in ("train", "t10k")]
    except (OSError, ValueError) as error:  # ValueError: a NUL in a path
        raise UserError(str(error)) from None
    print(f"{args.data_dir}: {counts[0]} training and {counts[1]} test digits")


if __name__ == "__main__":
    command(main)
