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
    boxes, target = tmp_path / "boxes.png", tmp_path / "front.png"
    Image.new("RGB", (588, 864), "red").save(boxes)
    monkeypatch.setattr(sys, "argv", [front_picture.__file__, str(boxes), "-o", str(target)])
    front_picture.main()
    picture = np.asarray(Image.open(target).convert("RGB"))
    height, width = picture.shape[:2]
    assert width == 930 and 600 < height < 750
    above, glimpses = picture[: height // 2], picture[height * 2 // 3 :]
    red = (above == (255, 0, 0)).all(axis=2)
    assert red[:, width * 3 // 4 :].all() and not red[:, : width // 2].any()
    for part in (above[:, : width // 2], glimpses):
        assert part.std() > 30
