"""Pickles read as data: nothing that a file names is imported, and nothing it asks for is called.

`RestrictedUnpickler` is Python's own unpickler with every opcode that could run code replaced. A
class or function is only a name; a table says which calls rebuild tensors and containers; an object
of any other class becomes its name and state; any other call is refused.
"""

from __future__ import annotations

import pickle
from typing import Any, BinaryIO, Callable, Dict, List

from ..errors import UserError

MAX_BYTES = 8 << 20  # of a pickle; that of a network of a thousand layers has one or two million
MAX_READS = 2_000_000  # of its stream, one or two an opcode, which may take a hundred bytes each

Calls = Dict[str, Callable[..., Any]]


class Global:
    """A function or class by the name that a file gives; it is neither looked up nor called."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Instance:
    """An object of a class that is not known here: its arguments and state are data."""

    __slots__ = ("path", "arguments", "state")

    def __init__(self, path: str, *arguments: Any) -> None:
        self.path, self.arguments, self.state = path, arguments, None

    def set_state(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Items of an unknown list are dropped."""

    def extend(self, items: Any) -> None:
        """Items of an unknown list are dropped."""


# Calls in checkpoints beside the weights; their results are ignored.
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
    """The object of the next pickle in a stream; what is wrong with it is a ValueError.

    Args:
        stream: begins with a pickle; what follows the pickle is left in it.
        calls: functions that take the place of those with these paths in the file.
        persistent: gives the object of a persistent id, such as a storage.
    """
    try:
        return RestrictedUnpickler(stream, {**_CALLS, **calls}, persistent).load()
    except (LookupError, TypeError, OverflowError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(str(error)) from None


class _LimitedStream:
    """A stream that refuses to end within a read, and to serve an endless pickle."""

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
    """The unpickler written in Python: the memo of the one in C is an array, which a file could
    make as long as four thousand million places."""

    def __init__(self, stream: BinaryIO, calls: Calls, persistent: Callable[[Any], Any]) -> None:
        # latin-1 reads the byte strings of Python 2 as they are.
        super().__init__(_LimitedStream(stream), encoding="latin-1")
        self.calls, self.persistent_load = calls, persistent

    def find_class(self, module: str, name: str) -> Global:
        return Global(f"{module}.{name}")

    def load_frame(self) -> None:
        self.read(8)  # its length, which is not believed

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        path = function.path if isinstance(function, Global) else "what it made itself"
        if path in self.calls:
            self.append(self.calls[path](*arguments))
        elif path in IGNORED_CALLS:
            self.append(Instance(path, *arguments))
        else:
            raise UserError(
                f"it holds code: to read it as Python does would call {_shown(path, arguments)}; "
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
            raise ValueError("items are given to what holds none")

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
    """A key of a dictionary. A tuple could be nested so deep that to hash it ends the process."""
    if isinstance(key, (tuple, list, dict)):
        raise ValueError("a key is a container")
    if isinstance(key, str):
        key.encode()  # half a surrogate pair cannot be printed, and raises a ValueError here
    return key


def _shown(path: str, arguments: Any) -> str:
    """A call with the words among its arguments, as one line."""
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
