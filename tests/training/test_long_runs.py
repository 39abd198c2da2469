"""What a run keeps to itself: memory while it lasts, nothing after it, and how long it takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from gluon_attention.datasets.image_folder import PictureFiles, Pictures
from gluon_attention.datasets.sampling import Batches, array_samples
from gluon_attention.datasets.view import View
from gluon_attention.training import monitor

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = pytest.mark.slow
FAMILIES = ("residual", "recurrent", "closer", "glimpse")


@pytest.mark.parametrize(
    "family, steps, most",
    [("recurrent", 300, 1.02), *(pytest.param(f, 5000, 1.02, marks=SLOW) for f in FAMILIES)],
)
def test_memory_stays_and_nothing_else_does(tmp_path, family, steps, most):
    """Resident memory after a tenth of the steps and after all of them; what is left at the end."""
    shared = shared_memory()
    words = [
        sys.executable,
        str(ROOT / "tests" / "training" / "long_run.py"),
        family,
        str(steps),
        str(tmp_path),
    ]
    # glibc would keep what large arrays once took, from some epoch on, which is no leak.
    limits = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**17))
    environment = dict(os.environ, OMP_NUM_THREADS="1", **limits)
    job = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    told, complaints = job.communicate(timeout=3600)
    assert job.returncode == 0, complaints
    early, late = json.loads(told.splitlines()[-1])
    assert late <= most * early, (early, late)
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)
    assert not shared_memory() - shared


def shared_memory():
    """What lies in /dev/shm by MXNet's or Python's doing."""
    folder = Path("/dev/shm")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in names if re.match(r"mx|psm_|sem\.mp-", name)}


@pytest.mark.parametrize("worker", ["prefetch", "decode"])
def test_a_worker_that_dies_is_reported_and_not_waited_for(tmp_path, monkeypatch, worker):
    """Workers are threads: what ends one is carried to who waits for it, even an exit."""
    if worker == "prefetch":

        def broken(images, rng):
            raise SystemExit("worker died")

        kind = dict(classes=2, transform=broken)
        samples = array_samples(np.zeros((4, 1, 2, 2), np.uint8), [0, 1, 0, 1], **kind)
    else:
        files = PictureFiles([tmp_path / "a.png"] * 4)
        monkeypatch.setattr(PictureFiles, "content", lambda self, row: sys.exit("worker died"))
        labels = np.zeros(4, int)
        samples = Pictures(files, labels, 1, 4).samples(np.arange(4), View(8, short=8))
    batches = Batches(samples, 2)
    before, raised = time.monotonic(), []

    def consume():
        try:
            list(batches.epoch(0))
        except SystemExit as error:
            raised.append(error)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    consumer.join(timeout=20)
    assert not consumer.is_alive() and time.monotonic() - before < 20
    assert str(raised[0]) == "worker died"


def test_time_left_is_that_of_the_epochs_left_also_after_a_resume(train_toy, monkeypatch, capsys):
    clock = iter(range(0, 10**6, 90))  # an epoch takes a minute and a half
    monkeypatch.setattr(monitor, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    keep, ends = monitor.Monitor.end_epoch, []

    def stopped(self, *words):
        keep(self, *words)
        ends.append(0)
        if len(ends) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(monitor.Monitor, "end_epoch", stopped)
        train_toy(epochs=4)
    train_toy(epochs=4)
    told = capsys.readouterr().out
    found = re.findall(r"^epoch (\d)/4: .*?(?:, (\S+) left)?$", told, re.MULTILINE)
    assert found == [("1", "0:04:30"), ("2", "0:03:00"), ("3", "0:01:30"), ("4", "")]
    assert "going on after epoch 2 of 4" in told


@pytest.mark.parametrize("done", [0, 2])
def test_progress_is_that_of_the_epoch(train_toy, monkeypatch, done):
    bars = []

    class Bar(monitor.tqdm):
        def __init__(self, **options):
            super().__init__(**dict(options, disable=False, file=open(os.devnull, "w")))
            bars.append(self)

        def close(self):
            super().close()
            if not self.fp.closed:
                self.fp.close()

    if done:
        train_toy(epochs=2, lr_steps=(9,))
    monkeypatch.setattr(monitor, "tqdm", Bar)
    with monkeypatch.context() as patch:
        if done:  # the same run with more epochs, as far as a test is concerned
            patch.setattr(
                "gluon_attention.training.checkpoint._check_settings", lambda *words: None
            )
        train_toy(epochs=3, lr_steps=(9,))
    assert [bar.desc.rstrip(": ") for bar in bars] == [f"epoch {e}/3" for e in range(done + 1, 4)]
    assert all((bar.n, bar.total) == (5, 5) for bar in bars)
