"""Pickles read as data: what torch.save writes is interpreted, and nothing in it is run.

Python's own unpickler calls whatever a file names. This one knows a table of calls that rebuild
tensors and containers, keeps the objects of unknown classes as their name and state, and refuses a
file that wants anything else to be called.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Callable, Dict, List, Tuple

from ..errors import UserError

LIMIT = 8 << 20  # bytes of a pickle; a network of a thousand layers takes one or two million
MOST = 2_000_000  # steps of a pickle, each of which may take a hundred bytes of memory


class Name:
    """A function or class that a file speaks of. It is neither looked up nor called."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Instance:
    """An object of a class that is not known here: its state is data."""

    __slots__ = ("path", "arguments", "state")

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments, self.state = path, arguments, None


# Calls that stand in checkpoints next to the weights. Their results are of no interest.
INERT = frozenset(
    f"{module}.{name}"
    for modules, names in (
        (("builtins", "__builtin__"), ("set", "frozenset", "getattr", "slice", "complex")),
        (("collections",), ("defaultdict", "Counter", "deque")),
        (("torch",), ("device", "Size")),
        (("torch.serialization",), ("_get_layout",)),
        (("functools", "pathlib"), ("partial", "PosixPath", "WindowsPath")),
        (("_codecs", "numpy"), ("encode", "dtype", "ndarray")),
        (("numpy.core.multiarray", "numpy._core.multiarray"), ("scalar", "_reconstruct")),
    )
    for module in modules
    for name in names
)


class Interpreter:
    """One pickle after the other from a stream.

    Args:
        calls: what is done where a file calls one of these paths.
        persistent: gives the object of a persistent id, such as a storage.
    """

    def __init__(
        self, calls: Dict[str, Callable[..., Any]], persistent: Callable[[Any], Any]
    ) -> None:
        self.calls = {**_CALLS, **calls}
        self.persistent = persistent
        self.stack: List[Any] = []
        self.below: List[List[Any]] = []  # stacks under the marks
        self.memo: Dict[int, Any] = {}

    def read(self, stream: BinaryIO) -> Any:
        """The object of the next pickle; what is wrong with it is a ValueError."""
        self.stack, self.below, self.memo = [], [], {}
        try:
            for _ in range(MOST):
                code = _exactly(stream, 1)
                if code == _STOP:
                    return self.stack.pop()
                if code not in _CODES:
                    raise ValueError(f"{code!r} is nothing that torch.save writes")
                argument, step = _CODES[code]
                step(self, argument(stream))
        except (LookupError, TypeError, OverflowError, AttributeError) as error:
            raise ValueError(str(error)) from None
        raise ValueError("it is too long for a network")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def group(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise ValueError("a tuple lacks items")
        self.stack[-count:] = [items]

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def above(self) -> List[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def put(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def bundle(self, _: Any) -> None:
        items = tuple(self.above())
        self.stack.append(items)

    def append(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def extend(self, items: List[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Instance):
            raise ValueError("items are given to what holds none")

    def setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.fill([key, value])

    def fill(self, items: List[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2]):
                target[_key(key)] = value
        elif not isinstance(target, Instance):
            raise ValueError("items are given to what holds none")

    def name(self, path: str) -> None:
        self.stack.append(Name(path))

    def stacked_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{module:s}.{name:s}"))

    def persist(self, _: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def new(self, _: Any) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.stack.append(Instance(kind.path, *arguments))

    def call(self, _: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        path = called.path if isinstance(called, Name) else "what it made itself"
        if path in self.calls:
            self.stack.append(self.calls[path](*arguments))
        elif path in INERT:
            self.stack.append(Instance(path, *arguments))
        else:
            raise UserError(
                f"it holds code: to read it as Python does would call {_shown(path, arguments)}; "
                "nothing was run; ask its author for a file of the state_dict alone"
            )

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Instance):
            target.state = state
        elif isinstance(target, Name):
            raise ValueError("a class is given a state")


def _key(value: Any) -> Any:
    """A key of a dictionary; tuples could be nested so deep that to hash them ends the process."""
    if isinstance(value, (tuple, list, dict)):
        raise ValueError("a key is a container")
    return value


def _shown(path: str, arguments: Any) -> str:
    """A call, with the words among its arguments, as one line."""
    words = [a for a in arguments if isinstance(a, str)] if isinstance(arguments, tuple) else []
    return f"{ascii(path[:80])[1:-1]}({', '.join(ascii(word[:40]) for word in words[:3])})"


def _ordered(*pairs: Any) -> Dict[Any, Any]:
    return {_key(key): value for key, value in (pairs[0] if pairs else ())}


def _reconstructed(kind: Name, *_: Any) -> Instance:
    return Instance(kind.path)


_CALLS = {
    "collections.OrderedDict": _ordered,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
}
Argument = Callable[[BinaryIO], Any]
Step = Callable[[Interpreter, Any], None]


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise ValueError("it ends in the middle")
    return found


def _number(form: str) -> Argument:
    size = struct.calcsize(form)
    return lambda stream: struct.unpack(form, _exactly(stream, size))[0]


def _sized(form: str, made: Callable[[bytes], Any]) -> Argument:
    """What follows its own length."""
    size = _number(form)
    return lambda stream: made(_exactly(stream, size(stream)))


def _always(value: Any) -> Argument:
    return lambda stream: value


def _path(stream: BinaryIO) -> str:
    module, name = stream.readline(), stream.readline()
    return f"{module.decode().strip()}.{name.decode().strip()}"


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


_STOP, _nothing = b".", _always(None)
_push, _put, _get = Interpreter.push, Interpreter.put, Interpreter.get
# What torch.save writes with any of pickle's protocols from 2.
_CODES: Dict[bytes, Tuple[Argument, Step]] = {
    b"\x80": (_number("<B"), lambda machine, _: None),
    b"\x95": (_number("<Q"), lambda machine, _: None),
    b"N": (_nothing, _push),
    b"\x88": (_always(True), _push),
    b"\x89": (_always(False), _push),
    b"K": (_number("<B"), _push),
    b"M": (_number("<H"), _push),
    b"J": (_number("<i"), _push),
    b"G": (_number(">d"), _push),
    b"\x8a": (_sized("<B", _long), _push),
    b"X": (_sized("<I", bytes.decode), _push),
    b"\x8c": (_sized("<B", bytes.decode), _push),
    b"U": (_sized("<B", lambda raw: raw.decode("latin-1")), _push),
    b"T": (_sized("<I", lambda raw: raw.decode("latin-1")), _push),
    b"B": (_sized("<I", bytes), _push),
    b"C": (_sized("<B", bytes), _push),
    b")": (_always(()), _push),
    b"}": (lambda stream: {}, _push),
    b"]": (lambda stream: [], _push),
    b"(": (_nothing, Interpreter.mark),
    b"0": (_nothing, Interpreter.pop),
    b"1": (_nothing, lambda machine, _: machine.above().clear()),
    b"q": (_number("<B"), _put),
    b"r": (_number("<I"), _put),
    b"\x94": (_nothing, _put),
    b"h": (_number("<B"), _get),
    b"j": (_number("<I"), _get),
    b"\x85": (_always(1), Interpreter.group),
    b"\x86": (_always(2), Interpreter.group),
    b"\x87": (_always(3), Interpreter.group),
    b"t": (_nothing, Interpreter.bundle),
    b"a": (_nothing, Interpreter.append),
    b"e": (_nothing, lambda machine, _: machine.extend(machine.above())),
    b"s": (_nothing, Interpreter.setitem),
    b"u": (_nothing, lambda machine, _: machine.fill(machine.above())),
    b"c": (_path, Interpreter.name),
    b"\x93": (_nothing, Interpreter.stacked_name),
    b"Q": (_nothing, Interpreter.persist),
    b"\x81": (_nothing, Interpreter.new),
    b"R": (_nothing, Interpreter.call),
    b"b": (_nothing, Interpreter.build),
}
