"""What README says about a network without this package, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = "import sys\nassert 'gluon_attention' not in sys.modules\n"


def blocks() -> List[str]:
    """The Python of the section: the image, MXNet, onnxruntime."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("### Without this package\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """A picture and the files that `export` writes, to be used where the package is not."""
    from gluon_attention.__main__ import main
    from gluon_attention.datasets import mnist

    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("deployed")
    digits = mnist(str(ROOT / "data" / "sample" / "mnist"), 4, download=False).test
    images, labels = next(iter(digits.epoch(0)))
    cv2.imwrite(str(folder / "digit.png"), np.rint(images[0, 0] * 255).astype("uint8"))
    (folder / "label").write_text(str(labels[0]))
    with pytest.raises(SystemExit) as stopped:
        main(["export", "ram_28", "-o", str(folder / "ram"), "--onnx"])
    assert stopped.value.code == 0
    return folder


@pytest.mark.parametrize("place", [1, 2], ids=["mxnet", "onnxruntime"])
def test_deployment(folder: Path, place: int) -> None:
    if place == 2:
        pytest.importorskip("onnxruntime")
    image, *others = blocks()
    script = image + others[place - 1] + WITHOUT
    script += "assert 'mxnet' not in sys.modules\n" if place == 2 else ""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [(folder / "label").read_text()]


def test_both_are_short() -> None:
    image, *others = blocks()
    for block in others:
        lines = [line for line in (image + block).splitlines() if line.strip()]
        assert len(lines) <= 22


def test_commands_are_those_of_the_command_line(shell: Any) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^    gluon-attention (\w+)", text, re.MULTILINE))
    assert {"predict", "evaluate", "explain", "export", "convert"} <= verbs
    for verb in verbs:
        assert shell(verb, "--help")[0] == 0
