"""The pages of docs/examples, and the script that writes them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from studies import example_pages

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("name", example_pages.PAGES)
def test_committed_pages_are_small_and_linked(name: str) -> None:
    page = DOCS / "examples" / f"{name}.html"
    assert 50_000 < page.stat().st_size < 1_000_000
    assert page.read_text(encoding="utf-8").count('"predictions"') > example_pages.PICTURES
    assert f"(docs/examples/{name}.html)" in (DOCS.parent / "README.md").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, example_pages.BROWSERS)), reason="needs the browser chromium"
)
def test_pages_and_their_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [example_pages.__file__, "-o", str(tmp_path)])
    example_pages.main()
    assert len(list((tmp_path / "examples").glob("*.html"))) == len(example_pages.PAGES)
    picture = Image.open(tmp_path / "examples.png").convert("RGB")
    assert picture.size == example_pages.WINDOW
    corners = [picture.crop((x, y, x + 300, y + 250)) for x in (0, 480) for y in (0, 360)]
    assert len({corner.tobytes() for corner in corners}) == 4
