"""Starts a scheduler, servers and workers, watches them, and leaves none behind.

MXNet's parameter server waits for ever for a process that died, so the first that fails ends all.
Processes of other machines are started by ssh with a terminal, whose end they do not survive.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Dict, List, NamedTuple, Sequence

from ..errors import UserError
from .signals import StopRequest

LOCAL = "127.0.0.1"
GRACE = 15.0  # seconds in which workers may stop by themselves and servers see that all is done
# Becomes the command, and dies with its parent even if that is killed without a chance to act:
# prctl(PR_SET_PDEATHSIG, SIGKILL). A parent that was gone before that was set is not argv[1] now.
TETHERED = """import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        print(f"error: cannot start {sys.argv[2]}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
"""
RESUME = "the same command goes on from the last epoch"
REFUSED = 2  # the status of a worker that does not want its flags, its data or its disk
SERVE = ("-c", "import gluon_attention")  # MXNet serves when it is imported


class Member(NamedTuple):
    """One process of a job."""

    name: str
    process: subprocess.Popen


def launch(command: Sequence[str], workers: int, servers: int, hosts: Sequence[str] = ()) -> int:
    """Run a command as so many workers; the exit status of the job."""
    serve, job = [sys.executable, *SERVE], []
    environment = {
        "DMLC_PS_ROOT_URI": _address(hosts[0]) if hosts else LOCAL,
        "DMLC_PS_ROOT_PORT": str(_free_port()),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(_threads(workers, hosts)),
    }
    if not hosts:
        environment["DMLC_NODE_HOST"] = LOCAL
    plan = [("scheduler", serve, "")]
    for role, count, words in (("server", servers, serve), ("worker", workers, command)):
        turns = (hosts[i % len(hosts)] if hosts else "" for i in range(count))
        plan += [(f"{role} {i}", words, host) for i, host in enumerate(turns)]
    try:
        for name, words, host in plan:
            variables = dict(environment, DMLC_ROLE=name.split()[0])
            job.append(Member(name, _start(words, variables, host)))
        return watch(job)
    finally:
        end(job)


def watch(job: Sequence[Member], grace: float = GRACE) -> int:
    """Wait until the workers are done, one of the job fails or a signal comes; exit status."""
    workers = [member for member in job if member.name.startswith("worker")]
    with StopRequest("stopping the workers; again stops at once") as stop:
        while any(member.process.poll() is None for member in workers):
            for member in job:
                if member.process.poll():
                    return _failed(member)
            if stop.received:
                for member in workers:
                    member.process.terminate()
                _wait(workers, grace)
                _tell(f"stopped by {signal.Signals(stop.received).name}")
                return 128 + stop.received
            time.sleep(0.1)
        failed = [member for member in workers if member.process.returncode]
        if failed:
            return _failed(failed[0])
        _wait(job, grace)
    return 0


def end(job: Sequence[Member]) -> None:
    """Kill what is left of a job, with the children of its members."""
    for member in job:
        with suppress(ProcessLookupError):  # its children may outlive it: wrappers do not wait
            os.killpg(member.process.pid, signal.SIGKILL)
    for member in job:
        member.process.wait()


def read_hosts(path: str) -> List[str]:
    """One host a line, as ssh takes it; empty lines and those that start with # do not count."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as error:  # not text, or a name that holds what none may
        raise UserError(f"cannot read --hostfile {path}: {error}") from None
    hosts = [line for line in lines if line and not line.startswith("#")]
    if not hosts or any(host.startswith("-") or len(host.split()) > 1 for host in hosts):
        raise UserError(f"--hostfile {path} must have one host a line, such as user@node1")
    return hosts


def _start(words: Sequence[str], variables: Dict[str, str], host: str) -> subprocess.Popen:
    environment = None
    if host:
        exports = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        there = f"cd {shlex.quote(os.getcwd())} && exec env {' '.join(exports)} "
        there += " ".join(map(shlex.quote, words))
        words = ["ssh", "-tt", "-o", "BatchMode=yes", host, there]
    else:
        environment = dict(os.environ, **variables)
    words = [sys.executable, "-c", TETHERED, str(os.getpid()), *words]
    return subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )


def _failed(member: Member) -> int:
    status = member.process.returncode
    if status < 0:
        fate, status = f"was killed by {signal.Signals(-status).name}", 128 - status
    else:
        fate = f"ended with status {status}"
    then = "what it said above is to be put right first" if status == REFUSED else RESUME
    _tell(f"{member.name} {fate}, so all others are ended", then)
    return status


def _wait(job: Sequence[Member], seconds: float) -> None:
    deadline = time.time() + seconds
    while time.time() < deadline and any(member.process.poll() is None for member in job):
        time.sleep(0.1)


def _tell(sentence: str, then: str = RESUME) -> None:
    print(f"launch: {sentence}; {then}", file=sys.stderr, flush=True)


def _address(host: str) -> str:
    """The address of this machine that another one reaches it by."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host.rpartition("@")[2], 22))  # sends nothing
            return probe.getsockname()[0]
    except OSError as error:
        raise UserError(f"cannot find the host {host} of --hostfile: {error.strerror}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def _threads(workers: int, hosts: Sequence[str]) -> int:
    """Cores of this machine for each of its workers; others are taken to be like it."""
    here = -(-workers // len(hosts)) if hosts else workers
    return max(1, len(os.sched_getaffinity(0)) // here)
