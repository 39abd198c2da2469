"""A plugin of pytest: a session that changes the machine it runs on fails, with a list of changes.

The process that controls the session compares devices, the work tree, shared memory and processes
before and after. Programs of others run beside it, so the tests get an empty home and an empty
temporary folder of their own, and a variable of their environment marks their processes. Every
process that runs tests compares its environment and the ports it listens on.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Set

import pytest

TOKEN = "GLUON_ATTENTION_TEST_SESSION"  # names the session in the environment of its processes
CACHES = {".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}
GROWING = ("data", "runs")  # a user's own; of what git ignores in them, only names are compared
CHANGED_BY_PYTEST = {"PYTEST_CURRENT_TEST", "PYTEST_VERSION"}
PATIENCE = 2  # seconds that processes have to end


class State(NamedTuple):
    """What is compared; each part maps names to descriptions."""

    device: Dict[str, str]
    file: Dict[str, str]  # of the work tree, the home and the temporary folder
    shared_memory: Dict[str, str]
    process: Dict[str, str]

    def changes(self, after: State) -> List[str]:
        """A line for each difference."""
        return [
            line
            for kind, old, new in zip(self._fields, self, after)
            for line in differences(kind.replace("_", " "), old, new)
        ]


def differences(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> List[str]:
    """What was added, removed and changed."""
    added = [f"{kind} {name} was left: {after[name]}" for name in after if name not in before]
    removed = [f"{kind} {name} is gone" for name in before if name not in after]
    both = [name for name in before if after.get(name, before[name]) != before[name]]
    changed = [f"{kind} {name} was {before[name]}, is {after[name]}" for name in both]
    return sorted(added + removed + changed)


def devices(folder: str = "/dev") -> Dict[str, str]:
    """Devices, pipes and links that any user may write to, and plain files among them.

    Others come and go with the hardware.
    """
    entries = {}
    for path in Path(folder).iterdir() if os.path.isdir(folder) else ():
        status = path.lstat()
        link, plain = stat.S_ISLNK(status.st_mode), stat.S_ISREG(status.st_mode)
        if link:
            entries[str(path)] = f"a link to {os.readlink(path)}"
        elif plain or (status.st_mode & stat.S_IWOTH and not path.is_dir()):
            kind = "a plain file" if plain else f"device {status.st_rdev:#x}"
            entries[str(path)] = f"{kind}, {stat.filemode(status.st_mode)}"
    return entries


def files(root: Path) -> Dict[str, str]:
    """Sizes and times of all files below a folder, save caches and environments."""
    entries = {}
    for folder, names, file_names in os.walk(root):
        names[:] = [n for n in names if n not in CACHES and not n.startswith(".venv")]
        names[:] = [n for n in names if not n.endswith(".egg-info")]
        if folder in [str(root / name) for name in GROWING]:
            file_names += [name for name in names if name != "sample"]
            names[:] = ["sample"] if "sample" in names else []
        for path in (os.path.join(folder, name) for name in (*names, *file_names)):
            entries[path] = _size_and_time(path)
    return entries


def _size_and_time(path: str) -> str:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "gone"
    if stat.S_ISDIR(status.st_mode):
        return "a folder"
    return f"{status.st_size} bytes of {status.st_mtime_ns / 1e9:.6f}"


def shared_memory(folder: str = "/dev/shm") -> Dict[str, str]:
    """Blocks of this user. One that a process has open is that process's matter."""
    entries = {}
    for path in Path(folder).iterdir() if os.path.isdir(folder) else ():
        try:
            if path.lstat().st_uid == os.getuid():
                entries[str(path)] = f"{path.lstat().st_size} bytes"
        except FileNotFoundError:
            pass
    return {path: text for path, text in entries.items() if path not in _open_files(folder)}


def _open_files(folder: str) -> Set[str]:
    """Files below a folder that some process has mapped into its memory."""
    paths: Set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(errors="replace").splitlines()
        except OSError:  # of another user, or gone
            continue
        paths.update(line[line.index(folder) :] for line in lines if f" {folder}/" in line)
    return paths


def processes(token: str) -> Dict[str, str]:
    """Commands of all processes that the session started and that are still there, by id."""
    entries = {}
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{TOKEN}={token}".encode() in environment.read_bytes():
                words = environment.with_name("cmdline").read_bytes().split(b"\0")
                command = b" ".join(words).decode(errors="replace").strip()
                if int(environment.parent.name) != os.getpid():
                    entries[environment.parent.name] = command or "a zombie"
        except OSError:  # of another user, or gone
            continue
    return entries


def listening_ports() -> Dict[str, str]:
    """Ports that this process listens on."""
    sockets = set()
    for link in Path("/proc/self/fd").glob("*"):
        try:
            sockets.add(os.readlink(link))
        except OSError:  # the one that lists the folder
            continue
    ports = {}
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        lines = Path(table).read_text().splitlines()[1:] if os.path.exists(table) else []
        for words in map(str.split, lines):
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:  # LISTEN
                ports[str(int(words[1].split(":")[1], 16))] = "open"
    return ports


def surroundings(folder: Path) -> Dict[str, str]:
    """Variables of processes that have an empty home and temporary folder below `folder`."""
    folders = dict(HOME="home", TMPDIR="tmp", MPLCONFIGDIR="matplotlib")
    for name in folders.values():
        (folder / name).mkdir()
    places = {variable: str(folder / name) for variable, name in folders.items()}
    # Newer releases of onnxruntime write a file to report their use at the mere import.
    return {**places, "ORT_DISABLE_TELEMETRY": "1", TOKEN: uuid.uuid4().hex}


def state(root: Path, variables: Mapping[str, str]) -> State:
    """What the machine is like for those who have these surroundings and work in `root`."""
    entries: Dict[str, str] = {}
    for folder in (root, Path(variables["HOME"]), Path(variables["TMPDIR"])):
        entries.update(files(folder))
    return State(devices(), entries, shared_memory(), processes(variables[TOKEN]))


def wait_for_processes(token: str) -> None:
    """Give processes that are about to end the time to do so."""
    deadline = time.monotonic() + PATIENCE
    while processes(token) and time.monotonic() < deadline:
        time.sleep(0.05)


class Session:
    """Compares the machine before and after a session of pytest."""

    def __init__(self, root: Path) -> None:
        self.root, self.environment = root, dict(os.environ)
        self.changes: List[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="gluon-attention-tests-"))
        self.variables = surroundings(self.folder)
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ.update(self.variables)
        tempfile.tempdir = None  # Python has read TMPDIR already
        self.before = state(root, self.variables)

    @pytest.hookimpl(trylast=True)  # the workers of pytest-xdist have ended
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        wait_for_processes(self.variables[TOKEN])
        self.changes = self.before.changes(state(self.root, self.variables))
        if self.changes and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.changes:
            terminalreporter.section("the tests changed this machine", red=True, bold=True)
            terminalreporter.write_line("\n".join(self.changes))

    def pytest_unconfigure(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        tempfile.tempdir = None
        shutil.rmtree(self.folder, ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # which a worker of pytest-xdist has
        config.pluginmanager.register(Session(config.rootpath), "machine-session")


@pytest.fixture(scope="session", autouse=True)
def unchanged_process() -> Iterator[None]:
    """Fails where tests of this process change its environment or leave ports open."""
    environment, ports = dict(os.environ), listening_ports()
    yield
    after = {name: text for name, text in os.environ.items() if name not in CHANGED_BY_PYTEST}
    environment = {n: text for n, text in environment.items() if n not in CHANGED_BY_PYTEST}
    changes = differences("environment variable", environment, after)
    changes += differences("port", ports, listening_ports())
    assert not changes, "the tests changed this process:\n" + "\n".join(changes)
