"""A job of several processes: how it starts, how it ends, and how its workers learn together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gluon_attention import UserError
from gluon_attention.__main__ import main
from gluon_attention.training.config import Config
from gluon_attention.training.launch import (
    GUARD,
    SERVE,
    TETHERED,
    Member,
    Sentinel,
    _start,
    end,
    read_hosts,
    watch,
)
from gluon_attention.training.schedule import Schedule

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def member(name, *words):
    words = [sys.executable, "-c", TETHERED, str(os.getpid()), *words]
    return Member(name, subprocess.Popen(words, start_new_session=True))


@pytest.fixture
def job():
    """A scheduler and a server that wait; a test adds workers."""
    members = [member("scheduler", "sleep", "60"), member("server 0", "sleep", "60")]
    yield members
    end(members)


def gone(member):
    return member.process.poll() is not None


def test_schedulers_and_servers_import_mxnet(tmp_path):
    """That starts them: without it they end at once, and workers wait for ever."""
    (tmp_path / "mxnet.py").write_text("print('serving')")
    environment = dict(os.environ, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    words = [sys.executable, *SERVE]
    assert subprocess.run(words, env=environment, stdout=-1).stdout == b"serving\n"


def test_a_job_ends_with_its_workers(job):
    job += [member("worker 0", "true"), member("worker 1", "sleep", "0.3")]
    assert watch(job, grace=0.2) == 0
    end(job)
    assert all(map(gone, job))


@pytest.mark.parametrize("number", range(4))
def test_a_member_that_dies_ends_the_job(job, capfd, number):
    job += [member("worker 0", "sleep", "60"), member("worker 1", "sleep", "60")]
    os.kill(job[number].process.pid, signal.SIGKILL)
    assert watch(job) == 137
    end(job)
    assert all(map(gone, job))
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1 and "the same command resumes after the last epoch" in errors[0]
    assert errors[0].startswith(f"launch: {job[number].name} was killed by SIGKILL")


def test_the_exit_status_of_a_worker_is_that_of_the_job(job, capfd):
    job += [member("worker 0", "sleep", "60"), member("worker 1", "sh", "-c", "exit 3")]
    assert watch(job) == 3
    assert "worker 1 ended with status 3" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["sh", "-c", "echo wrong >&2; exit 2"], ["./no such command"]])
def test_a_refused_command_gets_no_advice_to_resume(job, capfd, words):
    job.append(member("worker 0", *words))
    assert watch(job) == 2
    output, advice = capfd.readouterr().err.splitlines()
    assert output in ("wrong", "error: cannot start ./no such command: No such file or directory")
    assert "correct what it reports above" in advice and "resumes" not in advice


def test_a_signal_is_forwarded_to_the_workers(job, capfd):
    job.append(member("worker 0", "sleep", "60"))
    signals = f"sleep 0.5; kill -TERM {os.getpid()}"
    sender = subprocess.Popen(["sh", "-c", signals])
    assert watch(job) == 143 and sender.wait() == 0
    assert job[-1].process.returncode == -signal.SIGTERM and not gone(job[0])
    assert "stopped by SIGTERM" in capfd.readouterr().err


def test_children_of_a_dead_member_are_killed(job, tmp_path):
    pid_file = tmp_path / "child"
    job.append(member("worker 0", "sh", "-c", f"sleep 60 & echo $! >{pid_file}; kill -9 $$"))
    assert watch(job) == 137
    child = int(pid_file.read_text())
    assert alive(child)
    end(job)
    deadline = time.time() + 20
    while alive(child) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_members_die_with_a_killed_launcher():
    program = (
        "import os, subprocess, sys\n"
        "words = [sys.executable, '-c', sys.argv[1], str(os.getpid()), 'sleep', '60']\n"
        "print(subprocess.Popen(words, stdout=subprocess.DEVNULL).pid, flush=True)\n"
        "sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, TETHERED]
    launcher = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pid = int(launcher.stdout.readline())
    time.sleep(0.5)  # it must be gone whether it has become the command by now or not
    launcher.kill()
    launcher.communicate()
    deadline = time.time() + 20
    while alive(pid) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_grandchildren_die_with_a_killed_launcher(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 61 & echo $! $$ $PPID > {pids}.new; mv {pids}.new {pids}; sleep 62"
    program = "import sys; from gluon_attention.training.launch import launch as run; "
    program += "run(['sh', '-c', sys.argv[1]], 1, 0)"
    launcher = subprocess.Popen([sys.executable, "-c", program, script], cwd=ROOT)
    deadline = time.time() + 60
    while not pids.exists() and time.time() < deadline:
        time.sleep(0.05)
    grandchild, worker, parent = map(int, pids.read_text().split())
    assert parent == launcher.pid and alive(grandchild) and alive(worker)
    launcher.kill()
    launcher.wait()
    while (alive(grandchild) or alive(worker)) and time.time() < deadline:
        time.sleep(0.05)
    assert not alive(grandchild) and not alive(worker)


def test_the_sentinel_of_a_job_that_is_over_kills_nothing(job):
    sentinel = Sentinel()
    sentinel.add(job[0])
    sentinel.dismiss()
    assert sentinel.process.returncode == 0 and not gone(job[0])


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_hostfile_has_one_host_per_line(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# two\nnode1\n\nme@node2\n")
    assert read_hosts(str(path)) == ["node1", "me@node2"]
    path.write_text("-oProxyCommand=evil\n")
    for wrong in (path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(UserError, match="--hostfile"):
            read_hosts(str(wrong))


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """A stand-in for ssh: a shell that knows nothing but its last word, as one over there would."""
    path = tmp_path / "bin" / "ssh"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nfor there; do :; done\ncd / && exec env -i sh -c "$there"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "hosts").write_text("localhost\n")
    return tmp_path / "hosts"


def test_arguments_and_variables_arrive_unchanged_over_ssh(ssh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tell = (
        "import json, os, sys; json.dump([sys.argv, os.getcwd(), dict(os.environ)], open('a', 'w'))"
    )
    words = ["it's", "$HOME", 'a "b"', ""]
    with _start([sys.executable, "-c", tell, *words], {"DMLC_ROLE": "a b;c"}, "localhost") as guard:
        assert guard.wait() == 0
    argv, place, environment = json.loads((tmp_path / "a").read_text())
    assert (argv[1:], place) == (words, str(tmp_path)) and environment["DMLC_ROLE"] == "a b;c"


def guarded(silence, *words):
    command = [sys.executable, "-c", GUARD, TETHERED, str(silence), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)


def test_a_guard_ends_with_its_command():
    with guarded(60, "sh", "-c", "exit 3") as guard:
        assert guard.wait(20) == 3
    with guarded(60, "sh", "-c", "kill -9 $$") as guard:
        assert guard.wait(20) == 137


@pytest.mark.parametrize(
    ("silence", "word", "status"), [(60, b"", 137), (0.5, b".", 137), (60, b"t", 143)]
)
def test_a_guard_kills_its_command(silence, word, status):
    """When its input ends, when it is silent, and by a word as SIGTERM does."""
    with guarded(silence, "sleep", "60") as guard:
        if word:
            guard.stdin.write(word)
        else:
            guard.stdin.close()
        assert guard.wait(20) == status


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (255, "cannot be reached by ssh"),
        (137, "was killed by SIGKILL"),
        (200, "ended with status 200"),
    ],
)
def test_a_failure_names_the_machine(job, capfd, status, fate):
    worker = member("worker 0", "sh", "-c", f"exit {status}")
    job.append(worker._replace(host="node1"))
    assert watch(job) == status
    assert f"launch: worker 0 on node1 {fate}, so all others" in capfd.readouterr().err


def test_mistakes_are_one_line(capsys):
    for words in (["launch"], ["launch", "-n", "0", "--", "true"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_schedule_of_a_server_counts_the_steps_of_all_workers():
    plain = Schedule(Config(epochs=5, warmup_epochs=1.0), steps=4)
    served = plain.for_server(workers=3, lr_scale=0.5)
    for step in range(20):
        for worker in range(3):
            assert served(3 * step + worker + 1) == pytest.approx(0.5 * plain(step))


RUN = [sys.executable, str(ROOT / "tests" / "training" / "distributed_run.py")]
LAUNCH = [sys.executable, "-m", "gluon_attention", "launch", "-n", "2", "-s", "1", "--"]
FLAGS = ["--optimizer", "sgd", "--lr", "0.05", "--name", "run"]


def train(folder, groups, batch, *flags, launch=True, epochs=2):
    words = [*RUN, str(folder), str(groups), "-b", str(batch), "--epochs", str(epochs), *FLAGS]
    words = LAUNCH + words if launch else words
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.run(
        [*words, *flags], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    return process, folder / "run"


def arrays(folder):
    with np.load(folder / "last.npz") as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_two_workers_equal_one_with_the_whole_batch(tmp_path, groups):
    alone, one = train(tmp_path / "one", groups, 64, launch=False)
    process, two = train(tmp_path / "two", groups, 32, "--kvstore", "dist_sync")
    assert alone.returncode == 0 and process.returncode == 0, process.stderr
    for name, array in arrays(one).items():
        np.testing.assert_allclose(array, arrays(two)[name], rtol=1e-5, atol=1e-6, err_msg=name)
    progress = json.loads(np.load(two / "last.npz")["progress"].tobytes())
    count = sum(array.size for name, array in arrays(one).items() if name.startswith("net/body"))
    assert progress["history"][0]["bytes_per_step"] == 8 * count and (two / "result.json").exists()


@pytest.mark.slow
def test_workers_over_ssh_train(tmp_path, ssh, monkeypatch):
    monkeypatch.setattr(
        sys.modules[__name__], "LAUNCH", [*LAUNCH[:-1], "--hostfile", str(ssh), "--"]
    )
    process, run = train(tmp_path, 1, 32, "--kvstore", "dist_sync")
    assert process.returncode == 0, process.stderr
    assert json.loads((run / "result.json").read_text())["test_error"] < 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [("--kvstore", "dist_async"), ("--kvstore", "dist_sync", "--compression", "2bit")]
)
def test_other_stores_learn_too(tmp_path, flags):
    process, run = train(tmp_path, 3, 32, *flags)
    assert process.returncode == 0, process.stderr
    assert json.loads((run / "result.json").read_text())["test_error"] < 50


@pytest.mark.slow
def test_a_step_that_one_worker_skips_is_skipped_by_all(tmp_path, monkeypatch):
    monkeypatch.setenv("POISON", "1")
    process, run = train(tmp_path, 2, 32, "--kvstore", "dist_sync", "--skip-nonfinite")
    assert process.returncode == 0, process.stderr
    with np.load(run / "last.npz") as archive:  # the first worker's, whose numbers were fine
        progress = json.loads(archive["progress"].tobytes())
    assert [record["skipped_steps"] for record in progress["history"]] == [
        2,
        0,
    ]  # of two groups each
    assert progress["counts"] == {"first": 39, "last": 39}
    assert json.loads((run / "result.json").read_text())["test_error"] < 50


@pytest.mark.slow
@pytest.mark.parametrize("role", ["worker", "server"])
def test_a_killed_job_ends_at_once_and_resumes(tmp_path, role):
    flags = ["--kvstore", "dist_sync", "--epochs", "1000", "-b", "32", *FLAGS]
    command = [*LAUNCH, *RUN, str(tmp_path), "1", *flags]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    job = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 300
    while not (tmp_path / "run" / "history.csv").exists() and time.time() < deadline:
        time.sleep(0.1)
    family = children(job.pid)
    victims = [pid for pid in family if f"DMLC_ROLE={role}" in variables(pid)]
    os.kill(victims[-1], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert (
        job.returncode == 137 and f"launch: {role}" in errors and "resumes after the last" in errors
    )
    assert not any(map(alive, family))
    with np.load(tmp_path / "run" / "last.npz") as archive:
        epoch = json.loads(archive["progress"].tobytes())["epoch"]
    job = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert f"resuming after epoch {epoch} of 1000" in job.stdout.readline()
    finally:
        job.terminate()
        job.communicate()
    assert job.returncode == 143


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def variables(pid):
    return Path(f"/proc/{pid}/environ").read_text().split("\0")
