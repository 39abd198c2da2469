"""Write a page to explore for each family, from the weights that ship and test images.

python benchmarks/studies/example_pages.py     # docs/examples/*.html, and docs/examples.png of them

The picture needs the browser Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import DATASETS, Splits
from gluon_attention.explain.page import Entry, Page
from gluon_attention.explain.pictures import denormalise
from gluon_attention.storage.atomic import atomic_file

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = {  # by network: what the picture shows of the page
    "cifar_residual_attention56_slim": "picture=7",
    "ram_cluttered_60": "picture=6&step=3",
    "racnn_detail": "picture=9&step=2",
    "glimpse_detail": "picture=6&step=2",
}
PICTURES = 10  # of a page
WINDOW = (960, 720)  # of the browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def splits_of(name: str, options: dict) -> Splits:
    """The data set of shipped weights, as the sample of it or as generated scenes."""
    if name == "detail":
        return DATASETS[name](**options)
    return DATASETS[name](str(ROOT / "data" / "sample" / name), download=False, **options)


def write_page(name: str, path: str) -> None:
    """Show what a pretrained network attends to in test images of different classes."""
    model = open_model(name)
    splits = splits_of(model.source["name"], model.source["options"])
    labels = splits.test.labels
    indices = np.unique(labels)[np.linspace(0, len(model.classes) - 1, PICTURES).astype(int)]
    rows = [int(np.flatnonzero(labels == label)[0]) for label in indices]
    images = splits.test.load(np.array(rows), np.random.default_rng(0))
    page = Page(name, model.classes)
    entries = [Entry(f"test image {row}", model.classes[int(labels[row])]) for row in rows]
    pixels = denormalise(images, splits.mean, splits.std)
    page.add(model.net, entries, pixels, model.view.mean, model.view.std)
    page.save(path)


def screenshot(address: str, browser: str) -> np.ndarray:
    """What a browser shows at an address."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.png"
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}"]
        flags += [f"--screenshot={target}", "--window-size={},{}".format(*WINDOW)]
        command = [browser, *flags, "--virtual-time-budget=4000", address]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
        return np.asarray(Image.open(target).convert("RGB"))


def write_picture(folder: Path, path: Path) -> None:
    """Screenshots of the four pages of a folder, two by two, at half their size."""
    browsers = [program for program in map(shutil.which, BROWSERS) if program]
    if not browsers:
        raise UserError(f"the picture needs one of {', '.join(BROWSERS)}; install it")
    pages = {name: (folder / f"{name}.html").resolve().as_uri() for name in PAGES}
    shots = [screenshot(f"{pages[name]}#{part}", browsers[0]) for name, part in PAGES.items()]
    sheet = np.concatenate([np.concatenate(shots[n : n + 2], axis=1) for n in (0, 2)])
    half = Image.fromarray(sheet).resize((WINDOW[0], WINDOW[1]), Image.LANCZOS)
    with atomic_file(path) as temporary:
        half.quantize(256, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


def main() -> None:
    """Write the pages and the picture."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-o", "--output", default=ROOT / "docs", type=Path, metavar="FOLDER")
    folder = parser.parse_args().output
    for name in PAGES:
        write_page(name, str(folder / "examples" / f"{name}.html"))
    write_picture(folder / "examples", folder / "examples.png")


if __name__ == "__main__":
    command(main)
