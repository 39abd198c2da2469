"""Start the scheduler, servers and workers of a distributed job, and end all if one fails.

MXNet's parameter server waits for ever for a process that died, and so does dmlc_tracker, the
launcher in its wheel. On another machine a guard runs beside each process and is connected to this
launcher by ssh, so that both ends notice if the launcher, the machine or the connection fails.
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
GRACE = 15.0  # seconds for workers to stop after a signal, and for servers to end
# Runs the command in its place and is killed when its parent dies: prctl(PR_SET_PDEATHSIG,
# SIGKILL). If the parent died before prctl ran, getppid() is not argv[1]: nothing is started.
TETHERED = """import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        print(f"error: cannot start {sys.argv[2]}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
"""
# Reads process groups until its input ends because the launcher died, and then kills them, with
# grandchildren, which prctl does not reach. The line "end" dismisses it.
SENTINEL = """import os, sys
groups = []
for line in sys.stdin:
    if line == "end\\n":
        sys.exit()
    groups.append(int(line))
for group in groups:
    try:
        os.killpg(group, 9)
    except OSError:
        pass
"""
# Runs a command on another machine, tethered by argv[1]. Input "t" ends the command as SIGTERM
# does; the end of input, or silence for argv[2] seconds, kills it: the launcher cannot be reached.
GUARD = """import os, select, subprocess, sys, threading
words = [sys.executable, "-c", sys.argv[1], str(os.getpid()), *sys.argv[3:]]
job = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
def wait():
    status = job.wait()
    try:
        os.killpg(job.pid, 9)
    except OSError:
        pass
    os._exit(status if status >= 0 else 128 - status)
threading.Thread(target=wait).start()
word = b"start"
while word and select.select([0], [], [], float(sys.argv[2]))[0]:
    word = os.read(0, 4096)
    if b"t" in word:
        os.kill(job.pid, 15)
os.killpg(job.pid, 9)
"""
BEAT, SILENCE = 5, 20  # seconds between heartbeats, and without one until a job ends
NO_CONNECTION = 255  # exit status of ssh itself
HOSTFILE = 1 << 20  # largest number of characters read, as a device is endless
RESUME = "the same command resumes after the last epoch"
REFUSED = 2  # exit status of a worker that refuses its flags, its data or its disk
SERVE = ("-c", "import gluon_attention, mxnet")  # importing MXNet starts the server


class Member(NamedTuple):
    """One process of a job."""

    name: str
    process: subprocess.Popen
    host: str = ""  # of ssh; empty for this machine

    def send(self, word: bytes) -> None:
        """Send a word to the guard of a process on another machine."""
        if self.process.stdin:
            with suppress(OSError):  # the connection is lost: its status says so
                self.process.stdin.write(word)

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.process.stdin:
            self.send(b"t")
        else:
            self.process.terminate()


class Sentinel:
    """A process that survives a killed launcher and then kills the rest of its job."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-IS", "-c", SENTINEL],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def add(self, member: Member) -> None:
        """Kill the process group of this member, too."""
        with suppress(OSError):  # the job also runs without a sentinel
            self.process.stdin.write(f"{member.process.pid}\n")

    def dismiss(self) -> None:
        """Let the sentinel end: the job is over."""
        with suppress(OSError):
            self.process.communicate("end\n")


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
    for role, count, arguments in (("server", servers, serve), ("worker", workers, command)):
        for i in range(count):  # hosts in turn
            plan.append((f"{role} {i}", arguments, hosts[i % len(hosts)] if hosts else ""))
    sentinel = Sentinel()
    try:
        for name, arguments, host in plan:
            variables = dict(environment, DMLC_ROLE=name.split()[0])
            job.append(Member(name, _start(arguments, variables, host), host))
            sentinel.add(job[-1])
        return watch(job)
    finally:
        end(job)
        sentinel.dismiss()


def watch(job: Sequence[Member], grace: float = GRACE) -> int:
    """Wait until all workers end, a member fails or a signal arrives; the exit status."""
    workers = [member for member in job if member.name.startswith("worker")]
    beat = time.monotonic()
    with StopRequest("stopping the workers; again stops at once") as stop:
        while any(member.process.poll() is None for member in workers):
            for member in job:
                if member.process.poll():
                    return _report_failure(member)
            if time.monotonic() >= beat:
                beat += BEAT
                for member in job:
                    member.send(b".")
            if stop.received:
                for member in workers:
                    member.terminate()
                _wait(workers, grace)
                _report(f"stopped by {signal.Signals(stop.received).name}")
                return 128 + stop.received
            time.sleep(0.1)
        failed = [member for member in workers if member.process.returncode]
        if failed:
            return _report_failure(failed[0])
        _wait(job, grace)
    return 0


def end(job: Sequence[Member]) -> None:
    """Kill the remaining members of a job, with their children."""
    for member in job:
        with suppress(ProcessLookupError):  # the group, as children may survive a wrapper
            os.killpg(member.process.pid, signal.SIGKILL)
    for member in job:
        member.process.communicate()


def read_hosts(path: str) -> List[str]:
    """The hosts of a file, one per line, in ssh's form; # starts a comment line."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file.read(HOSTFILE).splitlines()]
    except (OSError, ValueError) as error:  # no text, or no valid file name
        raise UserError(f"cannot read --hostfile {path}: {error}") from None
    hosts = [line for line in lines if line and not line.startswith("#")]
    words = [host for host in hosts if host.isprintable() and len(host.split()) == 1]
    if not hosts or words != hosts or any(host.startswith("-") for host in hosts):
        raise UserError(f"--hostfile {path} must have one host per line, such as user@node1")
    return hosts


def _start(arguments: Sequence[str], variables: Dict[str, str], host: str) -> subprocess.Popen:
    environment, stdin = dict(os.environ, **variables), subprocess.DEVNULL
    if host:
        exports = [f"{name}={value}" for name, value in variables.items()]
        guard = [sys.executable, "-c", GUARD, TETHERED, str(SILENCE)]
        remote = shlex.join(["exec", "env", *exports, *guard, *arguments])
        alive = [f"ServerAliveInterval={BEAT}", f"ServerAliveCountMax={SILENCE // BEAT}"]
        options = [word for option in ("BatchMode=yes", *alive) for word in ("-o", option)]
        arguments = ["ssh", *options, host, f"cd {shlex.quote(os.getcwd())} && {remote}"]
        environment, stdin = None, subprocess.PIPE
    tethered = [sys.executable, "-c", TETHERED, str(os.getpid()), *arguments]
    return subprocess.Popen(
        tethered, env=environment, stdin=stdin, bufsize=0, start_new_session=True
    )


def _report_failure(member: Member) -> int:
    status, name = member.process.returncode, member.name
    if member.host:
        name = f"{name} on {member.host}"
        status = 128 - status if 128 < status < 160 else status  # a signal
    if status < 0:
        fate, status = f"was killed by {signal.Signals(-status).name}", 128 - status
    elif member.host and status == NO_CONNECTION:
        fate = "cannot be reached by ssh"
    else:
        fate = f"ended with status {status}"
    advice = "correct what it reports above" if status == REFUSED else RESUME
    _report(f"{name} {fate}, so all others were ended", advice)
    return status


def _wait(job: Sequence[Member], seconds: float) -> None:
    deadline = time.time() + seconds
    while time.time() < deadline and any(member.process.poll() is None for member in job):
        time.sleep(0.1)


def _report(event: str, advice: str = RESUME) -> None:
    print(f"launch: {event}; {advice}", file=sys.stderr, flush=True)


def _address(host: str) -> str:
    """The address of this machine as that host sees it."""
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
    """Cores per worker, if all machines are like this one."""
    local_workers = -(-workers // len(hosts)) if hosts else workers
    return max(1, len(os.sched_getaffinity(0)) // local_workers)
