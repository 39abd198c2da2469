"""Long runs: their memory, what they leave behind, dying threads, and the time they announce."""

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
    "family, steps, largest_ratio",
    [("recurrent", 300, 1.02), *(pytest.param(f, 5000, 1.02, marks=SLOW) for f in FAMILIES)],
)
def test_memory_is_constant_and_no_process_or_shared_memory_remains(
    tmp_path, family, steps, largest_ratio
):
    """Resident memory after a tenth of the steps and after all of them; leftovers at the end."""
    shared = shared_memory()
    command = [
        sys.executable,
        str(ROOT / "tests" / "training" / "long_run.py"),
        family,
        str(steps),
        str(tmp_path),
    ]
    # glibc keeps the memory of large arrays, and gives a thread that has to wait for the allocator
    # an arena of its own, which happens more often on a busy machine: neither is a leak.
    limits = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**17))
    environment = dict(os.environ, OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="1", **limits)
    job = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    output, errors = job.communicate(timeout=3600)
    assert job.returncode == 0, errors
    early, late = json.loads(output.splitlines()[-1])
    assert late <= largest_ratio * early, (early, late)
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)
    assert not shared_memory() - shared


def shared_memory():
    """Shared memory of MXNet and Python in /dev/shm."""
    folder = Path("/dev/shm")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in names if re.match(r"mx|psm_|sem\.mp-", name)}


@pytest.mark.parametrize("worker", ["prefetch", "decode"])
def test_an_exit_in_a_loading_thread_reaches_the_consumer(tmp_path, monkeypatch, worker):
    """Whatever ends a loading thread is raised again where its batches are awaited."""
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


def test_the_time_left_counts_the_remaining_epochs(train_toy, monkeypatch, capsys):
    clock = iter(range(0, 10**6, 90))  # an epoch takes a minute and a half
    monkeypatch.setattr(monitor, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    end_epoch, ends = monitor.Monitor.end_epoch, []

    def stopped(self, *arguments):
        end_epoch(self, *arguments)
        ends.append(0)
        if len(ends) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(monitor.Monitor, "end_epoch", stopped)
        train_toy(epochs=4)
    train_toy(epochs=4)
    output = capsys.readouterr().out
    times = re.findall(r"^epoch (\d)/4: .*?(?:, (\S+) left)?$", output, re.MULTILINE)
    assert times == [("1", "0:04:30"), ("2", "0:03:00"), ("3", "0:01:30"), ("4", "")]
    assert "resuming after epoch 2 of 4" in output


@pytest.mark.parametrize("done", [0, 2])
def test_a_progress_bar_spans_one_epoch(train_toy, monkeypatch, done):
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
        if done:  # --epochs is a setting: resuming with more is refused
            patch.setattr(
                "gluon_attention.training.checkpoint._check_settings", lambda *words: None
            )
        train_toy(epochs=3, lr_steps=(9,))
    assert [bar.desc.rstrip(": ") for bar in bars] == [f"epoch {e}/3" for e in range(done + 1, 4)]
    assert all((bar.n, bar.total) == (5, 5) for bar in bars)
