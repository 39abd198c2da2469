"""Pickles read as data: no name in a file is imported, and no function in it is called.

`RestrictedUnpickler` is Python's own unpickler with every opcode replaced that could run code. A
class or function becomes a name; calls from a table rebuild tensors and containers; an object of
any other class becomes its name and state; any other call is refused.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO, Callable, Dict, List

from ..errors import UserError

MAX_BYTES = 8 << 20  # of a pickle; that of a network of a thousand layers has one or two million
MAX_READS = 2_000_000  # of the stream: one or two per opcode, each up to a hundred bytes

Calls = Dict[str, Callable[..., Any]]


class Global:
    """The name of a function or class in a file, which is neither imported nor called."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Instance:
    """An object of an unknown class; its arguments and state are data."""

    __slots__ = ("path", "arguments", "state")

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments, self.state = path, arguments, None

    def set_state(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Items of an unknown list are dropped."""

    def extend(self, items: Any) -> None:
        """Items of an unknown list are dropped."""


# Calls for other content of checkpoints; their results are ignored.
IGNORED_CALLS = frozenset(
    f"{module}.{name}"
    for modules, names in (
        (("builtins", "__builtin__"), ("set", "frozenset", "getattr", "slice", "complex")),
        (("collections",), ("defaultdict", "Counter", "deque")),
        (("datetime",), ("datetime", "date", "time", "timedelta", "timezone")),
        (("torch",), ("device", "Size")),
        (("torch.serialization",), ("_get_layout",)),
        (("functools", "pathlib"), ("partial", "PosixPath", "WindowsPath")),
        (("_codecs", "numpy"), ("encode", "dtype", "ndarray")),
        (("numpy.core.multiarray", "numpy._core.multiarray"), ("scalar", "_reconstruct")),
    )
    for module in modules
    for name in names
)


def read_pickle(
    stream: BinaryIO, calls: Calls, persistent: Callable[[Any], Any] = lambda reference: None
) -> Any:
    """The object of the next pickle in a stream; a ValueError if the pickle is invalid.

    Args:
        stream: begins with a pickle; the bytes after it remain unread.
        calls: replacements of functions by their paths in the file.
        persistent: returns the object of a persistent id, such as a storage.
    """
    try:
        return RestrictedUnpickler(stream, {**_CALLS, **calls}, persistent).load()
    except (LookupError, TypeError, OverflowError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(str(error)) from None


class _LimitedStream:
    """A stream that raises an error at its end, and after too many reads."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.reads = stream, 0

    def read(self, count: int) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise ValueError("it is too long for a network")
        content = self.stream.read(count)
        if len(content) < count:
            raise ValueError("it ends in the middle")
        return content

    def readline(self) -> bytes:
        return self.stream.readline()


class RestrictedUnpickler(pickle._Unpickler):
    """Python's unpickler in Python; a file could make the C version allocate a memo of four
    thousand million entries."""

    def __init__(self, stream: BinaryIO, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        # latin-1 reads the byte strings of Python 2 as they are.
        super().__init__(_LimitedStream(stream), encoding="latin-1")
        self.calls, self.persistent_load = calls, persistent

    def find_class(self, module: str, name: str) -> Global:
        return Global(f"{module}.{name}")

    def load_frame(self) -> None:
        self.read(8)  # its length, which is not used

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        path = function.path if isinstance(function, Global) else "an object of the file"
        if path in self.calls:
            self.append(self.calls[path](*arguments))
        elif path in IGNORED_CALLS:
            self.append(Instance(path, *arguments))
        else:
            raise UserError(
                f"it holds code: Python's own reader would call {_shown(path, arguments)}; "
                "nothing was run; ask its author for a file of the state_dict alone"
            )

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.append(Instance(kind.path, *arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Instance):
            target.set_state(state)
        elif isinstance(target, Global):
            raise ValueError("a class is given a state")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: List[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2]):
                target[_checked_key(key)] = value
        elif not isinstance(target, Instance):
            raise ValueError("items are added to an object without items")

    # What torch.save and paddle.save write with any of pickle's protocols from 2.
    dispatch = {
        opcode[0]: pickle._Unpickler.dispatch[opcode[0]]
        for opcode in (
            *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK),
            *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
            *(pickle.BININT1, pickle.BININT2, pickle.BININT, pickle.LONG1, pickle.BINFLOAT),
            *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING),
            *(pickle.BINBYTES, pickle.SHORT_BINBYTES),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.TUPLE),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
            *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET),
            *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BINPERSID),
        )
    }
    dispatch.update(
        {
            pickle.FRAME[0]: load_frame,
            pickle.REDUCE[0]: load_reduce,
            pickle.NEWOBJ[0]: load_newobj,
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
        }
    )


def _checked_key(key: Any) -> Any:
    """A key of a dictionary, no container: the hash of a deeply nested tuple ends the process."""
    if isinstance(key, (tuple, list, dict)):
        raise ValueError("a key is a container")
    if isinstance(key, str):
        key.encode()  # raises a ValueError for half a surrogate pair, which cannot be printed
    return key


def _shown(path: str, arguments: Any) -> str:
    """A call with its arguments of text, as one line."""
    words = [a for a in arguments if isinstance(a, str)] if isinstance(arguments, tuple) else []
    return f"{ascii(path[:80])[1:-1]}({', '.join(ascii(word[:40]) for word in words[:3])})"


def _ordered_dict(*pairs: Any) -> Dict[Any, Any]:
    return {_checked_key(key): value for key, value in (pairs[0] if pairs else ())}


def _reconstruct_object(kind: Global, *_: Any) -> Instance:
    return Instance(kind.path)


_CALLS: Calls = {
    "collections.OrderedDict": _ordered_dict,
    "copyreg._reconstructor": _reconstruct_object,
    "copy_reg._reconstructor": _reconstruct_object,
}
