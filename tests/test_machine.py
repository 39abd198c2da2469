"""The plugin that compares the machine before and after the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Iterator

import machine
import pytest

SHARED_MEMORY = Path("/dev/shm")

CHANGES = """
import os, socket, subprocess, sys, tempfile
from pathlib import Path


def test_file_in_home():
    Path("~/settings").expanduser().write_text("x")


def test_temporary_file():
    tempfile.mkstemp(prefix="forgotten")


def test_work_tree():
    Path("notes").write_text("another length")
    Path("new").mkdir()
    Path("runs/mine").mkdir(parents=True)


def test_process():
    subprocess.Popen(["sleep", "60"], start_new_session=True)


def test_shared_memory():
    Path("/dev/shm", os.environ["BLOCK"]).write_text("x")
"""

OF_A_PROCESS = """
import os, socket
server = socket.socket()


def test_environment():
    os.environ["FORGOTTEN"] = "1"


def test_port():
    server.bind(("127.0.0.1", 0))
    server.listen()
"""


def session(folder: Path, text: str, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    """A session of pytest with the plugin alone, on a file of tests."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    words = ["-m", "pytest", "-p", "machine", "-p", "no:cacheprovider", *flags, "test_it.py"]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent), **variables)
    return subprocess.run(
        [sys.executable, "-B", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def block() -> Iterator[str]:
    """A name in shared memory, which is free again in the end."""
    name = f"gluon-attention-{uuid.uuid4().hex}"
    yield name
    if (SHARED_MEMORY / name).exists():
        (SHARED_MEMORY / name).unlink()


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs Linux")
@pytest.mark.parametrize("flags", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_a_session_that_changes_the_machine_fails(tmp_path: Path, block: str, flags: list) -> None:
    (tmp_path / "notes").write_text("x")
    result = session(tmp_path, CHANGES, *flags, BLOCK=block)
    process = re.search(r"process (\d+) was left: sleep 60", result.stdout)
    assert process, result.stdout
    os.kill(int(process.group(1)), signal.SIGKILL)
    assert result.returncode == 1 and "5 passed" in result.stdout
    for change in (
        "/home/settings was left: 1 bytes",
        "/tmp/forgotten",
        f"file {tmp_path}/notes was 1 bytes",
        f"file {tmp_path}/new was left: a folder",
        f"file {tmp_path}/runs/mine was left: a folder",
        f"shared memory /dev/shm/{block} was left: 1 bytes",
    ):
        assert change in result.stdout, change


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs Linux")
def test_a_process_with_another_environment_or_an_open_port_fails(tmp_path: Path) -> None:
    result = session(tmp_path, OF_A_PROCESS)
    assert result.returncode == 1 and "2 passed, 1 error" in result.stdout
    assert "environment variable FORGOTTEN was left: 1" in result.stdout
    assert re.search(r"port \d+ was left: open", result.stdout)


def test_a_session_that_changes_nothing_passes(tmp_path: Path) -> None:
    result = session(tmp_path, "def test_it(tmp_path):\n    (tmp_path / 'x').mkdir()\n")
    assert result.returncode == 0, result.stdout


def test_a_device_that_becomes_a_file_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "null"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    os.symlink("null", tmp_path / "link")
    before = machine.devices(str(tmp_path))
    assert before.keys() == {str(pipe), str(tmp_path / "link")}
    pipe.unlink()
    assert machine.differences("device", before, machine.devices(str(tmp_path))) == [
        f"device {pipe} is gone"
    ]
    pipe.write_text("")
    (change,) = machine.differences("device", before, machine.devices(str(tmp_path)))
    assert change.startswith(f"device {pipe} was device 0x0, prw-rw-rw-, is a plain file, -rw")
