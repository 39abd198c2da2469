"""The picture at the head of README."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from studies import front_picture


@pytest.mark.slow
def test_masks_boxes_and_glimpses_fill_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "front.png"
    monkeypatch.setattr(sys, "argv", [front_picture.__file__, "-o", str(target)])
    front_picture.main()
    picture = np.asarray(Image.open(target).convert("RGB"))
    height, width = picture.shape[:2]
    assert width == 930 and 600 < height < 750
    above, glimpses = picture[: height // 2], picture[height * 2 // 3 :]
    for part in (above[:, : width // 2], above[:, width * 3 // 4 :], glimpses):
        assert part.std() > 30
