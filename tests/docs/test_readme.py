"""The code and the commands of README and docs/, run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

from gluon_attention import get_model

import numpy as np
import pytest
from builders import SMALL
from mxnet import nd

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
WITHOUT = "import sys\nassert 'gluon_attention' not in sys.modules\n"


def blocks(page: str, heading: str = "") -> List[str]:
    """The Python of a page, or of one of its sections."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        text = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """A picture and the files that `export` writes, to be used where the package is not."""
    from gluon_attention.__main__ import main
    from gluon_attention.datasets import mnist

    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("deployed")
    digits = mnist(str(ROOT / "data" / "sample" / "mnist"), download=False).test
    images, labels = digits.first(1), digits.labels
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
    image, *others = blocks("docs/deployment.md")
    script = image + others[place - 1] + WITHOUT
    if place == 1:
        lines = ["import numpy, numpy_names\n", "numpy_names.restore(numpy)\n"]
        assert "    ".join(["", *lines]) in (ROOT / "docs/deployment.md").read_text(
            encoding="utf-8"
        )
        script = "".join(lines) + script
    script += "assert 'mxnet' not in sys.modules\n" if place == 2 else ""
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [(folder / "label").read_text()]


def test_both_are_short() -> None:
    image, *others = blocks("docs/deployment.md")
    for block in others:
        lines = [line for line in (image + block).splitlines() if line.strip()]
        assert len(lines) <= 22


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_ten_lines() -> None:
    (block,) = blocks("README.md")
    assert block.startswith("from gluon_attention import")  # or a newer numpy breaks MXNet
    exec(block, {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_commands_are_those_of_the_command_line(shell: Any) -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    verbs = set(re.findall(r"^    gluon-attention (\w+)", text, re.MULTILINE))
    assert {"predict", "evaluate", "explain", "export", "convert"} <= verbs
    for verb in verbs:
        assert shell(verb, "--help")[0] == 0


def test_data_of_ones_own(tmp_path: Path, monkeypatch: Any) -> None:
    (block,) = blocks("docs/your_data.md", "Your own data")
    rng, namespace = np.random.RandomState(0), {}
    for name, count in (("", 16), ("v", 8), ("t", 5)):
        namespace[name + "x"] = rng.randint(256, size=(count, 3, 16, 16)).astype("uint8")
        namespace[name + "y"] = np.arange(count) % 2
    flags = "-b 8 --epochs 1 --num-gpus 0 --log-dir".split()
    monkeypatch.setattr(sys, "argv", ["own.py", *flags, str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        exec(block, namespace)
    assert stopped.value.code == 0
    assert json.loads((tmp_path / "pets" / "result.json").read_text())["test_images"] == 5
    monkeypatch.setattr(sys, "argv", ["own.py", "--epochs", "none"])
    with pytest.raises(SystemExit) as stopped:
        exec(block, namespace)
    assert stopped.value.code == 2


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"cifar_residual_attention56_slim"}))
def test_a_loop_of_ones_own(name: str) -> None:
    (block,) = blocks("docs/your_data.md", "Your own loop")
    options, shape = SMALL[name]
    sampled = dict(location="sampled") if name.startswith("glimpse") else {}
    net = get_model(name, **options, **sampled)
    net.initialize(net.initializer)
    images, labels = nd.random.uniform(shape=(4, *shape)), nd.array([0, 1, 2, 0])
    net(images)
    before = {p.name: p.data().copy() for p in net.collect_params().values()}
    exec(block, dict(net=net, epochs=30, batches=[(images, labels)]))
    still = [
        p.name
        for p in net.collect_params().values()
        if p.grad_req != "null" and (p.data() == before[p.name]).min().asscalar()
    ]
    assert not still


def test_from_a_picture_to_an_input(tmp_path: Path, monkeypatch: Any) -> None:
    from gluon_attention.datasets.sampling import array_samples

    import cv2
    import mxnet as mx

    (block,) = blocks("docs/your_data.md", "From a picture to an input")
    monkeypatch.chdir(tmp_path)
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        noise = np.random.randint(256, size=(40, 50, 3)).astype("uint8")
        cv2.imwrite(str(tmp_path / "pets" / kind / "x.jpg"), noise)
        cv2.imwrite("cat.jpg", noise)
    names: Any = dict(mx=mx, array_samples=array_samples, y=[0, 1])
    names["net"] = get_model("cifar_residual_attention56_slim", pretrained=True)
    names["x"] = np.random.randint(256, size=(2, 3, 40, 50)).astype("uint8")
    exec(block, names)
    images, labels = next(iter(names["loader"]))
    assert images.shape == (2, 3, 32, 32) and names["logits"].shape == (1, 10)
    assert names["samples"].first(2).shape == (2, 3, 32, 32)
