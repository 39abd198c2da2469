"""A run that is killed at any moment, or whose disk is full, resumes from a whole checkpoint."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from types import SimpleNamespace

from gluon_attention import UserError
from gluon_attention.storage.atomic import write_text
from gluon_attention.training import checkpoint, events

import numpy as np
import pytest
from mxnet import gluon

SETTINGS = {"lr": 0.1}


def save(folder, net, epoch):
    """A checkpoint in which every number is that of the epoch."""
    net.weight.set_data(net.weight.data() * 0 + epoch)
    nothing = SimpleNamespace(values={})
    progress = checkpoint.Progress(epoch=epoch, counts={}, settings=SETTINGS)
    checkpoint.save(str(folder), net, {}, nothing, progress)


def saved(folder):
    """The epoch of the checkpoint in a folder, which is whole; 0 without one."""
    content = checkpoint.load(str(folder), SETTINGS)
    if content is None:
        return 0
    epoch = content.progress.epoch
    assert (content.arrays["net/weight"] == epoch).all()
    return epoch


@pytest.fixture
def net():
    layer = gluon.nn.Dense(256, in_units=512, use_bias=False)  # half a megabyte
    layer.initialize()
    return layer


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path, net, kills):
    before, moments = 0, random.Random(1)
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            for epoch in range(before + 1, before + 10000):
                save(tmp_path, net, epoch)
            os._exit(0)
        deadline = time.time() + 20
        while not (tmp_path / "last.npz").exists() and time.time() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = saved(tmp_path)
        assert after >= max(before, 1)
        before = after


def refuse(monkeypatch, owner, name, number):
    def fail(*words, **named):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize(
    "owner, name, number",
    [
        (os, "fsync", errno.ENOSPC),
        (os, "fsync", errno.EDQUOT),
        (os, "replace", errno.EIO),
        (tempfile, "mkstemp", errno.EROFS),
        (tempfile, "mkstemp", errno.EACCES),
    ],
    ids=lambda value: errno.errorcode.get(value) if isinstance(value, int) else None,
)
def test_a_disk_that_refuses_keeps_the_last_checkpoint(
    tmp_path, net, monkeypatch, owner, name, number
):
    save(tmp_path, net, 1)
    save(tmp_path, net, 2)
    with monkeypatch.context() as patch:
        refuse(patch, owner, name, number)
        with pytest.raises(UserError, match=f"cannot write .*last.npz: {os.strerror(number)}"):
            save(tmp_path, net, 3)
    assert saved(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} <= {"last.npz", "previous.npz"}


@contextmanager
def largest_file(size):
    """A limit on the size of files, which fails a write as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_size_limit_is_a_full_disk(tmp_path, net):
    save(tmp_path, net, 1)
    with largest_file(100_000), pytest.raises(UserError, match="cannot write .*File too large"):
        save(tmp_path, net, 2)
    assert saved(tmp_path) == 1


def test_any_file_of_a_run_can_be_too_large_for_the_disk(train_toy, tmp_path):
    """Each limit is less than a file needs, weights by one byte, and nothing is left half."""
    train_toy(epochs=1)
    folder = tmp_path / "toy"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "best.params").unlink()  # as if killed before it was written
    (folder / "result.json").unlink()
    small = {"best.params": sizes["best.params"] - 1, "config.json": 10}
    for name, limit in {**small, "last.npz": sizes["last.npz"] // 2}.items():
        with largest_file(limit), pytest.raises(UserError, match=f"cannot write .*{name}"):
            train_toy(epochs=1)
        assert not list(folder.glob(".*"))
        shutil.rmtree(folder, ignore_errors=True)  # an empty one is gone


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # as /dev/null, which root could replace
    with pytest.raises(UserError, match=f"cannot write {pipe}, a device or a pipe; give"):
        write_text(str(pipe), "text")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_symbolic_link_is_followed_when_its_file_is_written(tmp_path):
    link, target = tmp_path / "link.txt", tmp_path / "elsewhere" / "target"
    link.symlink_to(target)  # which is not there yet
    for text in ("one", "two"):
        write_text(str(link), text)
        assert link.is_symlink() and target.read_text() == text and not target.is_symlink()


def test_checkpoints_are_written_through_symbolic_links(tmp_path, net):
    disk, folder = tmp_path / "disk", tmp_path / "run"
    disk.mkdir()
    folder.mkdir()
    for name in (checkpoint.LAST, checkpoint.PREVIOUS):
        (folder / name).symlink_to(disk / name)
    for epoch in (1, 2, 3):
        save(folder, net, epoch)
    assert saved(folder) == 3
    assert all(path.is_symlink() for path in folder.iterdir())
    (folder / checkpoint.LAST).unlink()
    assert saved(folder) == 2 and len(list(disk.iterdir())) == 2


def test_an_event_file_on_a_full_disk_ends_the_run(train_toy, monkeypatch):
    keep = events.EventFile

    def full(file):
        file.close()
        return keep(open("/dev/full", "wb"))

    monkeypatch.setattr(events, "EventFile", full)
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device"):
        train_toy()


def test_temporary_files_of_a_killed_process_are_removed(train_toy, tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / ".aside-x-last.npz").write_bytes(b"half")
    (folder / "mine.txt").write_text("kept")
    train_toy(epochs=1)
    names = {path.name for path in folder.iterdir()}
    assert "mine.txt" in names and not [name for name in names if name.startswith(".")]


def test_a_failed_write_keeps_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_text(str(path), "old")
    refuse(monkeypatch, os, "fsync", errno.ENOSPC)
    with pytest.raises(UserError, match="No space left"):
        write_text(str(path), "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments_do_not_change_a_run(train_toy, tmp_path, kills):
    """Killed in training, evaluation or saving, a resumed run ends like an undisturbed one."""
    kind, moments = dict(epochs=8, optimizer="adam", lr=0.01), random.Random(2)
    train_toy(**kind, log_dir=str(tmp_path / "whole"))
    folder, killed, ended = tmp_path / "cut" / "toy", 0, 0
    while killed < kills or not ended:
        child = os.fork()
        if child == 0:
            live(lambda: train_toy(**kind, log_dir=str(folder.parent)))
        deadline = time.time() + (moments.uniform(0, 1.5) if killed < kills else 60)
        done = 0
        while not done and time.time() < deadline:
            time.sleep(0.005)
            done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            continue
        assert status == 0
        same(tmp_path / "whole" / "toy", folder)
        shutil.rmtree(folder)
        ended += 1


def live(act):
    """The life of a forked process, of which the parent hears nothing but how it ended."""
    status = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        act()
        status = 0
    finally:
        os._exit(status)


def same(one, other):
    whole, resumed = (np.load(folder / "last.npz") for folder in (one, other))
    with whole, resumed:
        assert whole.files == resumed.files
        for name in set(whole.files) - {"progress"}:
            np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)
