"""Machines that are network namespaces of this one, joined by a bridge, with a stand-in for ssh.

python machines.py COUNT COMMAND...

runs a command on a machine beside COUNT others, whose addresses the file $HOSTFILE lists. It needs
root, and Linux that allows namespaces.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, List, Sequence

PORT = 2222  # of the stand-in for a server of ssh
OUTPUT, ERRORS, STATUS = 1, 2, 3  # kinds of frames
FRAME = struct.Struct(">BI")  # kind, length or status


def quietly(*words: str) -> bool:
    """Whether a command succeeds."""
    return not subprocess.run(words, capture_output=True).returncode


def allowed() -> bool:
    """Whether namespaces and links between them can be made here."""
    name = f"gaprobe{os.getpid()}"
    link = ("ip", "-n", name, "link", "add", "name", "one", "type", "veth", "peer", "name", "two")
    try:
        return quietly("ip", "netns", "add", name) and quietly(*link)
    except OSError:  # no ip
        return False
    finally:
        with suppress(OSError):
            quietly("ip", "netns", "del", name)


class Machines:
    """A hub, on which the launcher runs, and machines with addresses 10.77.0.1 and on.

    All see the same files, and a small disk that can be filled.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.hub, self.count = f"ga{os.getpid()}hub", count
        self.names = [f"ga{os.getpid()}n{i}" for i in range(count)]
        self.hostfile, self.stub = folder / "hosts", folder / "bin" / "ssh"
        self.hostfile.write_text("".join(f"10.77.0.{i + 1}\n" for i in range(count)))
        self.stub.parent.mkdir()
        self.stub.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} ssh "$@"\n')
        self.stub.chmod(0o755)
        self.disk = folder / "disk"
        self.servers: List[subprocess.Popen] = []

    def __enter__(self) -> Machines:
        self.disk.mkdir()
        disk = ("-o", "size=8m", "tmpfs", str(self.disk))
        subprocess.run(["mount", "-t", "tmpfs", *disk], check=True)
        for name in (self.hub, *self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self.hub, "link", "add", "name", "bridge", "type", "bridge")
        _ip("-n", self.hub, "address", "add", "10.77.0.254/24", "dev", "bridge")
        _ip("-n", self.hub, "link", "set", "bridge", "up")
        for i, name in enumerate(self.names):
            pair = ("name", f"port{i}", "type", "veth", "peer", "name", "card", "netns", name)
            _ip("-n", self.hub, "link", "add", *pair)
            _ip("-n", self.hub, "link", "set", f"port{i}", "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"10.77.0.{i + 1}/24", "dev", "card")
            _ip("-n", name, "link", "set", "card", "up")
            words = [*self.enter(name), sys.executable, __file__, "server"]
            self.servers.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        for server in self.servers:
            server.stdout.readline()  # it listens
        return self

    def __exit__(self, *error: Any) -> None:
        for server in self.servers:
            server.kill()
            server.communicate()
        for name in (self.hub, *self.names):
            for pid in pids(name):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            quietly("ip", "netns", "del", name)
        quietly("umount", "-l", str(self.disk))

    def enter(self, name: str) -> List[str]:
        """The words before a command that let it run on a machine."""
        return ["ip", "netns", "exec", name]

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen:
        """Start a command on the hub."""
        path = f"{self.stub.parent}{os.pathsep}{os.environ['PATH']}"
        environment = dict(os.environ, PATH=path, HOSTFILE=str(self.hostfile))
        return subprocess.Popen([*self.enter(self.hub), *words], env=environment, **options)

    def link(self, number: int, state: str) -> None:
        """Cut the link of a machine ("down"), or mend it ("up")."""
        _ip("-n", self.hub, "link", "set", f"port{number}", state)

    def slow(self, number: int, rate: str) -> None:
        """Limit what a machine sends and what it receives to a rate such as "20mbit"."""
        for name, device in ((self.hub, f"port{number}"), (self.names[number], "card")):
            shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "500ms")
            subprocess.run(
                [*self.enter(name), "tc", "qdisc", "add", "dev", device, *shape], check=True
            )

    def processes(self, number: int, role: str = "") -> List[int]:
        """Processes that a launcher started on a machine, with that role in their environment."""
        word, own = f"DMLC_ROLE={role}".encode(), self.servers[number].pid
        return [pid for pid in pids(self.names[number]) if pid != own and word in _environment(pid)]


def pids(name: str) -> List[int]:
    process = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    return [int(word) for word in process.stdout.split()]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it ended
        return b""


def serve() -> None:
    """Run what clients send, as sshd does: an ended connection ends the input, and no more."""
    with socket.create_server(("", PORT)) as listener:
        print("listening", flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_session, args=(client,), daemon=True).start()


def _session(client: socket.socket) -> None:
    size = struct.unpack(">I", _exactly(client, 4))[0]
    words = ["env", "-i", "sh", "-c", _exactly(client, size).decode()]
    kind = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    job, lock = subprocess.Popen(words, cwd="/", **kind), threading.Lock()

    def feed() -> None:
        with suppress(OSError), job.stdin:
            for data in iter(lambda: client.recv(4096), b""):
                job.stdin.write(data)

    def forward(pipe: Any, kind: int) -> None:
        for data in iter(lambda: pipe.read(4096), b""):
            with suppress(OSError), lock:
                client.sendall(FRAME.pack(kind, len(data)) + data)

    threading.Thread(target=feed, daemon=True).start()
    pumps = [
        threading.Thread(target=forward, args=pair)
        for pair in ((job.stdout, OUTPUT), (job.stderr, ERRORS))
    ]
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    status = job.wait()
    with suppress(OSError):
        client.sendall(FRAME.pack(STATUS, status % 256))
    client.close()


def connect(words: Sequence[str]) -> int:
    """Run a command as ssh does, with its options; its exit status, or 255 without a connection."""
    *options, host, command = words
    alive = dict(re.findall(r"(ServerAlive\w+)=(\d+)", " ".join(options)))
    seconds = int(alive.get("ServerAliveInterval", 0)) * int(alive.get("ServerAliveCountMax", 3))
    try:
        with socket.create_connection((host, PORT), timeout=seconds or None) as server:
            server.settimeout(None)
            # What is sent but not acknowledged for so long ends the connection; 0: after minutes.
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)
            server.sendall(struct.pack(">I", len(command.encode())) + command.encode())
            threading.Thread(target=_send_input, args=(server,), daemon=True).start()
            return _receive(server)
    except OSError as error:
        print(f"ssh: {host}: {error}", file=sys.stderr)
        return 255


def _send_input(server: socket.socket) -> None:
    with suppress(OSError):
        for data in iter(lambda: os.read(0, 4096), b""):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)


def _receive(server: socket.socket) -> int:
    while True:
        kind, number = FRAME.unpack(_exactly(server, FRAME.size))
        if kind == STATUS:
            return number
        stream = (sys.stdout if kind == OUTPUT else sys.stderr).buffer
        stream.write(_exactly(server, number))
        stream.flush()


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the connection ended")
        data += part
    return data


def main() -> int:
    if sys.argv[1] == "server":
        serve()
    if sys.argv[1] == "ssh":
        return connect(sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder, Machines(Path(folder), int(sys.argv[1])) as some:
        return some.start(sys.argv[2:]).wait()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a thread may wait for input
