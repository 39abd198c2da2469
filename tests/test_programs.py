"""Every verb and script leaves the machine as it found it, save the files it is asked to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import cv2
import machine
import mxnet as mx
import numpy as np
import pytest
from cub_writer import write_cub

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"
RUN = "--num-gpus 0 --epochs 1 -b 4 --log-dir out".split()

VERBS = {
    "list": "",
    "info": "ram_28",
    "predict": "ram_28 digit.png --num-gpus 0",
    "evaluate": f"ram_28 -m 1 --data-dir {SAMPLE}/mnist --num-gpus 0",
    "explain": "ram_28 digit.png -o out/glimpses.png --num-gpus 0",
    "export": "ram_28 -o out/ram --onnx --fused --num-gpus 0",
    "convert": f"{ROOT}/gluon_attention/weights/ram_28.params ram_28 -o out/ram.params",
    "train": f"mnist {' '.join(RUN)} --glimpses 1 --data-dir {SAMPLE}/mnist --validation 100",
    "launch": f"-n 1 -s 1 -- {sys.executable} -c pass",
}
SCRIPTS = {
    "train/cifar10_train.py": f"--shape slim --data-dir {SAMPLE}/cifar10 --crop 8",
    "train/mnist_train.py": f"--glimpses 1 --data-dir {SAMPLE}/mnist --validation 100 -b 250",
    "train/imagenet_train.py": "--model cifar_residual_attention56_slim --size 32 "
    f"--data-dir {SAMPLE}/imagenet",
    "train/cub200_train.py": "--backbone tiny --size 32 --crops 16,16 --stages 0,0,0 "
    "--data-dir birds",
    "train/stanford_dogs_train.py": "--dataset cub200 --data-dir birds --backbone tiny --patch 16 "
    "--hidden 8 --stage1-epochs 1 --patches 3 --start-size 1",
    "data/prepare_imagenet.py": f"--from {SAMPLE}/imagenet --data-dir out",
    "benchmarks/speed.py": "--cases ram28 --peers ours --modes inference --batches 1 --rounds 1 "
    "--seconds 0.01",
    "benchmarks/operator_time.py": "ram28 inference --batch 1 --steps 1",
    "benchmarks/scaling.py": "--networks ram_28 --smoke",
    "benchmarks/data_speed.py": "--seconds 0.01",
    "benchmarks/eight_bits.py": f"ram_28 --images 4 --data-dir {SAMPLE}/mnist",
    "benchmarks/results.py": "--charts out",
    "benchmarks/studies/pull_plot.py": "out/pull.png",
    "benchmarks/studies/front_picture.py": "-o out/front.png",
    "benchmarks/studies/closer_look.py": "--data-dir birds --backbone tiny --size 64 "
    "--backbone-weights tiny.params",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: Any) -> Path:
    """Pictures, a data set and weights."""
    from gluon_attention.zoo.backbones import backbone

    folder = tmp_path_factory.mktemp("inputs")
    cv2.imwrite(str(folder / "digit.png"), np.full((28, 28), 200, np.uint8))
    write_cub(str(folder / "birds"), 40, size=64, coarse=32)
    net = backbone("tiny")
    net.initialize()
    net(mx.nd.zeros((1, 3, 64, 64)))
    net.layers.save_parameters(str(folder / "tiny.params"))
    return folder


def check(words: List[str], folder: Path, inputs: Path) -> None:
    """Run a program in a folder that has an `out`, and compare the machine before and after."""
    work = folder / "work"
    (work / "out").mkdir(parents=True)
    for path in inputs.iterdir():
        (work / path.name).symlink_to(path)
    variables = machine.surroundings(folder)
    before, before_inputs = machine.state(ROOT, variables), machine.files(inputs)
    environment: Dict[str, str] = dict(os.environ, OMP_NUM_THREADS="1", **variables)
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.run(
        [sys.executable, *words], cwd=work, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    machine.wait_for_processes(variables[machine.TOKEN])
    assert before.changes(machine.state(ROOT, variables)) == []
    assert machine.files(inputs) == before_inputs
    assert {path.name for path in work.iterdir()} == {"out", *(p.name for p in inputs.iterdir())}
    assert any((work / "out").iterdir()) == ("out" in " ".join(words)), "files in out/"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_changes_nothing_else(verb: str, tmp_path: Path, inputs: Path) -> None:
    check(["-m", "gluon_attention", verb, *VERBS[verb].split()], tmp_path, inputs)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_changes_nothing_else(script: str, tmp_path: Path, inputs: Path) -> None:
    run = RUN if script.startswith("train/") else []
    check([str(ROOT / script), *run, *SCRIPTS[script].split()], tmp_path, inputs)


def test_every_verb_and_training_script_is_called() -> None:
    from gluon_attention.__main__ import VERBS as verbs

    assert {verb.__name__.rpartition(".")[2] for verb in verbs} == set(VERBS)
    assert {f"train/{path.name}" for path in (ROOT / "train").glob("*.py")} <= set(SCRIPTS)
