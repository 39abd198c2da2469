"""Jobs on machines with addresses of their own, and what can happen to one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import machines
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(ROOT / "tests" / "training" / "distributed_run.py")]
FLAGS = ["-b", "32", "--kvstore", "dist_sync", "--optimizer", "sgd", "--lr", "0.05"]
EPOCHS, PAUSE = 8, 0.1  # an epoch of two workers has 20 steps
PATIENCE = 60  # seconds within which a disturbed job ends
ADVICE = "so all others were ended; the same command resumes after the last epoch"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    if not machines.allowed():
        pytest.skip("network namespaces need root and a system that allows them")
    with machines.Machines(tmp_path_factory.mktemp("machines"), 4) as network:
        yield network


class Job:
    """A job whose run is in a folder."""

    def __init__(self, network, folder, workers, pause=0.0):
        self.network, self.run = network, folder / "run"
        words = [sys.executable, "-m", "gluon_attention", "launch", "-n", str(workers), "-s", "1"]
        words += ["--hostfile", str(network.hostfile), "--", "env", f"PAUSE={pause}", *PROGRAM]
        words += [str(folder), "1", *FLAGS, "--epochs", str(EPOCHS), "--name", "run"]
        kind = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.process = network.start(words, **kind)

    def wait_for_epoch(self):
        deadline = time.time() + 300
        while not (self.run / "history.csv").exists() and time.time() < deadline:
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.1)

    def end(self, seconds=300):
        """Exit status, output and errors."""
        output, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, output, errors

    def arrays(self):
        with np.load(self.run / "last.npz") as archive:
            return {name: archive[name] for name in archive.files if name != "progress"}


@pytest.fixture(scope="module")
def undisturbed(network, tmp_path_factory):
    """The weights and momenta of a run of so many workers that nothing disturbed."""
    runs = {}

    def arrays(workers):
        if workers not in runs:
            job = Job(network, tmp_path_factory.mktemp("whole"), workers)
            status, _, errors = job.end()
            assert status == 0, errors
            runs[workers] = job.arrays()
        return runs[workers]

    return arrays


def check_resumed(network, folder, workers, expected):
    """The same command goes on, and ends as the undisturbed run."""
    job = Job(network, folder, workers)
    status, output, errors = job.end()
    assert status == 0 and f" of {EPOCHS}\n" in output and "resuming after epoch" in output, errors
    arrays = job.arrays()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():  # gradients of four are summed as they arrive
        tolerance = dict(rtol=0, atol=0) if workers == 2 else dict(rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(arrays[name], array, **tolerance, err_msg=name)


def is_empty(network, seconds):
    """Whether all that was started on machines has ended after so many seconds."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        if not any(network.processes(number) for number in range(network.count)):
            return True
        time.sleep(0.2)
    return False


@pytest.mark.parametrize(
    ("workers", "role", "number"), [(2, "worker", 1), (2, "server", 0), (4, "worker", 2)]
)
def test_a_killed_process(network, undisturbed, tmp_path, workers, role, number):
    job = Job(network, tmp_path, workers, PAUSE)
    job.wait_for_epoch()
    started, words = time.time(), PROGRAM[1] if role == "worker" else "-c import gluon_attention"
    (victim,) = [p for p in network.processes(number, role) if command_line(p).startswith(words)]
    os.kill(victim, signal.SIGKILL)
    status, _, errors = job.end(PATIENCE)
    index = number if role == "worker" else 0
    name = f"{role} {index} on 10.77.0.{number + 1}"
    assert errors.splitlines()[-1] == f"launch: {name} was killed by SIGKILL, {ADVICE}"
    assert status == 137 and is_empty(network, 5) and time.time() - started < PATIENCE
    check_resumed(network, tmp_path, workers, undisturbed(workers))


@pytest.mark.parametrize(("workers", "number"), [(2, 1), (4, 0)])
def test_a_cut_link(network, undisturbed, tmp_path, workers, number):
    job = Job(network, tmp_path, workers, PAUSE)
    job.wait_for_epoch()
    started = time.time()
    network.link(number, "down")
    try:
        status, _, errors = job.end(PATIENCE)
        line = errors.splitlines()[-1]
        assert f" on 10.77.0.{number + 1} cannot be reached by ssh, {ADVICE}" in line
        assert status == 255 and is_empty(network, 30)  # on the lonely machine, too
        assert time.time() - started < PATIENCE
    finally:
        network.link(number, "up")
    check_resumed(network, tmp_path, workers, undisturbed(workers))


def test_a_short_interruption_and_a_slow_link(network, undisturbed, tmp_path):
    """They delay a job, and change nothing."""
    network.slow(1, "2mbit")
    job = Job(network, tmp_path, 2, PAUSE)
    job.wait_for_epoch()
    network.link(1, "down")
    time.sleep(5)
    network.link(1, "up")
    status, _, errors = job.end()
    assert status == 0 and not errors
    for name, array in undisturbed(2).items():
        np.testing.assert_array_equal(job.arrays()[name], array, err_msg=name)


def test_a_full_disk(network, undisturbed):
    job, filler = Job(network, network.disk, 2, PAUSE), network.disk / "filler"
    job.wait_for_epoch()
    with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    status, _, errors = job.end(PATIENCE)
    cause, line = errors.splitlines()[-2:]
    assert cause.startswith(f"error: cannot write {job.run}/") and "No space left" in cause
    assert "status 2, so all others were ended; correct what it reports above" in line
    assert status == 2 and is_empty(network, 5)
    filler.unlink()
    check_resumed(network, network.disk, 2, undisturbed(2))


def test_signals_arrive_on_other_machines(network, tmp_path):
    job = Job(network, tmp_path, 2, PAUSE)
    job.wait_for_epoch()
    job.process.send_signal(signal.SIGTERM)
    status, _, errors = job.end(PATIENCE)
    assert status == 143
    assert "stopped by SIGTERM; the same command resumes after" in errors
    assert is_empty(network, 5)


def test_a_killed_launcher(network, tmp_path):
    job = Job(network, tmp_path, 2, PAUSE)
    job.wait_for_epoch()
    job.process.kill()
    job.process.communicate()
    assert is_empty(network, 10)


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[2].replace("\0", " ")
