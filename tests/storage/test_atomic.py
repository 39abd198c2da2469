"""Files that appear whole, and the lock of a folder: what they leave on the disk."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Any

from gluon_attention import UserError
from gluon_attention.storage import atomic

import pytest


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        atomic.write_text(str(tmp_path / "x"), "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


def test_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: Any) -> None:
    """A power cut leaves the old file or the new one: the order of these calls decides."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def record_replace(source: str, target: str) -> None:
        calls.append(f"{source} to {target}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    atomic.write_text(str(tmp_path / "x"), "text")
    temporary = calls[0]
    assert Path(temporary).parent == tmp_path and Path(temporary).name.startswith(".aside-")
    assert calls == [temporary, f"{temporary} to {tmp_path / 'x'}", str(tmp_path)]


def test_an_error_inside_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic.atomic_file(str(tmp_path / "x")) as temporary:
        Path(temporary).write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_lock_that_is_refused_or_released_is_closed(tmp_path: Path) -> None:
    before, folder = open_files(), str(tmp_path / "run")
    with atomic.locked_folder(folder):
        with pytest.raises(UserError, match="another process is writing"):
            with atomic.locked_folder(folder):
                raise AssertionError
        assert open_files() == before + 1
    assert open_files() == before and not os.path.exists(folder)
    with atomic.locked_folder(folder):
        Path(folder, "x").write_text("kept")
        Path(folder, ".aside-x").write_text("left by a process before")
    with atomic.locked_folder(folder):
        assert os.listdir(folder) == ["x"]
    assert os.listdir(folder) == ["x"]


def test_the_lock_is_of_the_folder_that_is_there(tmp_path: Path, monkeypatch: Any) -> None:
    """Another process unlocks the folder, and so removes it, between its opening and its lock."""
    folder, flock, removed = tmp_path / "run", fcntl.flock, []

    def remove_first(handle: int, operation: int) -> None:
        if not removed:
            folder.rmdir()
            removed.append(folder)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with atomic.locked_folder(str(folder)):
        with pytest.raises(UserError, match="another process is writing"):
            with atomic.locked_folder(str(folder)):
                raise AssertionError


def test_leftovers_of_some_age_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"  # a name that glob would take for a pattern
    folder.mkdir()
    for name, age in ((".aside-old", 100), (".aside-new", 0), ("x", 100)):
        (folder / name).write_text("")
        os.utime(folder / name, (time.time() - age,) * 2)
    atomic.remove_leftovers(str(folder), age=50)
    assert sorted(os.listdir(folder)) == [".aside-new", "x"]
    atomic.remove_leftovers(str(folder))
    assert os.listdir(folder) == ["x"]
