"""PyTorch checkpoints without PyTorch: names and tensors, read when they are asked for.

`torch.save` has written zip archives since 1.6 and a stream of pickles followed by numbers before.
Both are told by their content. Of what a file claims about itself nothing is believed that cannot
be checked against its size.
"""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any, BinaryIO, Dict

from ..errors import UserError
from .tensor_table import reading
from .tensors import CALLS, TYPES, Storage, Tensor, refuse_kind, width
from .unpickler import MAX_BYTES, Global, Instance, read_pickle

ZIP = b"PK\x03\x04"
STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of torch's number for its files


def is_torch(head: bytes) -> bool:
    """Whether a file that begins so may be PyTorch's."""
    return head.startswith((ZIP, b"\x80")) or head[257:262] == b"ustar"


def read_torch(file: str) -> Dict[str, Tensor]:
    """The weights in a checkpoint; their numbers are read when they are asked for."""
    with reading(file):
        with open(file, "rb") as stream:
            head = stream.read(512)
        if not head.startswith((ZIP, STREAM)):
            raise UserError(
                "it is a pickle or tar that torch.save does not write today; load it in a PyTorch "
                "that can and save its state_dict again"
            )
        saved = (_Archive if head.startswith(ZIP) else _Stream)(file).read()
        return _weights_in(saved)


class _File:
    """What both formats share: storages by key, and a limit to what is read in all."""

    def __init__(self, file: str) -> None:
        self.file, self.size = file, os.path.getsize(file)
        self.left = 4 * self.size + (1 << 20)  # many small views of one large storage never end
        self.order = "<"
        self.storages: Dict[str, Storage] = {}

    def unpickle(self, stream: BinaryIO) -> Any:
        return read_pickle(stream, CALLS, self.persistent)

    def persistent(self, reference: Any) -> Any:
        """A storage, or the class of a module, which old files keep with its source."""
        if isinstance(reference, tuple) and reference[:1] == ("module",):
            return reference[1]
        if not isinstance(reference, tuple) or reference[:1] != ("storage",):
            raise ValueError("it refers to something that is not in it")
        _, kind, key, _, count, *view = reference
        code = TYPES.get(kind.path.rpartition(".")[2]) if isinstance(kind, Global) else None
        if code is None or (view and view[0] is not None):
            refuse_kind()
        if type(count) is not int or count < 0 or count * width(code) > self.size:
            raise ValueError("a storage is larger than the file")
        key = str(key)
        if key not in self.storages:
            self.storages[key] = Storage(code, count, lambda: self.take(key), self.order)
        known = self.storages[key]
        if (known.code, known.count) != (code, count):
            raise ValueError("a storage is of two kinds")
        return known

    def take(self, key: str) -> bytes:
        with reading(self.file):
            raw = self.numbers(key)
            self.left -= len(raw)
            storage = self.storages[key]
            if len(raw) < storage.count * width(storage.code) or self.left < 0:
                raise ValueError("a storage has less numbers than it says")
            return raw

    def numbers(self, key: str) -> bytes:
        raise AssertionError("of a format")


class _Archive(_File):
    """A zip archive: `NAME/data.pkl` and `NAME/data/KEY`, not compressed."""

    def read(self) -> Any:
        self.archive = zipfile.ZipFile(self.file)  # open as long as tensors refer to it
        names = self.archive.namelist()
        found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise UserError("it is a zip archive but no checkpoint of torch.save")
        self.root = found[0].rpartition("/")[0]
        if f"{self.root}/constants.pkl" in names:
            raise UserError("it is a TorchScript archive; save the state_dict of its module")
        if f"{self.root}/byteorder" in names:
            self.order = ">" if self.entry("byteorder", 16) == b"big" else "<"
        return self.unpickle(io.BytesIO(self.entry("data.pkl", MAX_BYTES)))

    def entry(self, name: str, limit: int) -> bytes:
        info = self.archive.getinfo(f"{self.root}/{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > min(limit, self.size):
            raise ValueError(f"{info.filename} is compressed or too large")
        return self.archive.read(info)

    def numbers(self, key: str) -> bytes:
        return self.entry(f"data/{key}", self.size)


class _Stream(_File):
    """Pickles of the number, a version, the machine, the object and its keys; then the numbers."""

    def read(self) -> Any:
        with open(self.file, "rb") as stream:
            head = io.BytesIO(stream.read(MAX_BYTES))
            self.unpickle(head)
            version, machine = self.unpickle(head), self.unpickle(head)
            if version != 1001 or not isinstance(machine, dict):
                raise UserError(f"it is of version {version!a} of torch's files; 1001 is known")
            self.order = "<" if machine.get("little_endian", True) else ">"
            saved, keys = self.unpickle(head), self.unpickle(head)
            self.places = self.laid_out(stream, head.tell(), keys)
        return saved

    def laid_out(self, stream: Any, at: int, keys: Any) -> Dict[str, int]:
        """Where the numbers of each storage begin: behind eight bytes that count them."""
        places = {}
        for key in map(str, keys):
            stream.seek(at)
            count = int.from_bytes(stream.read(8), "little")
            if key not in self.storages or self.storages[key].count != count:
                raise ValueError("a storage has another length than its tensors")
            places[key] = at + 8
            at += 8 + count * width(self.storages[key].code)
        if at > self.size or set(places) != set(self.storages):
            raise ValueError("storages are missing at its end")
        return places

    def numbers(self, key: str) -> bytes:
        with open(self.file, "rb") as stream:
            stream.seek(self.places[key])
            storage = self.storages[key]
            return stream.read(storage.count * width(storage.code))


def _weights_in(saved: Any) -> Dict[str, Tensor]:
    """Those of a state_dict or a whole module, alone or among other things."""
    found = _weights(saved)
    if not found and isinstance(saved, dict):
        inner = {key: _weights(value) for key, value in saved.items() if isinstance(key, str)}
        inner = {key: tensors for key, tensors in inner.items() if tensors}
        wanted = [key for key in HOLDERS if key in inner] or list(inner)
        found = inner[wanted[0]] if wanted else {}
    if not found:
        raise UserError("it holds no weights: neither a state_dict nor a module")
    for wrapper in ("module.", "_orig_mod.", "model.", "net."):
        if all(name.startswith(wrapper) for name in found):
            found = {name[len(wrapper) :]: tensor for name, tensor in found.items()}
    return found


# Where checkpoints keep the weights they were saved for, the likeliest first.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model_dict", "model", "net", "weights")


def _weights(value: Any) -> Dict[str, Tensor]:
    if isinstance(value, Instance):
        if value.path.endswith(".getattr") and value.arguments[1:] == ("state_dict",):
            value = value.arguments[0]  # saved without the brackets that would have called it
        found: Dict[str, Tensor] = {}
        _collect(value, "", found, [0])
        return found
    if not isinstance(value, dict) or not value:
        return {}
    named = all(isinstance(k, str) and isinstance(t, Tensor) for k, t in value.items())
    return dict(value) if named else {}


def _collect(module: Any, prefix: str, found: Dict[str, Tensor], seen: Any, depth: int = 0) -> None:
    """Parameters and buffers of a module and those in it, by the names of its state_dict."""
    seen[0] += 1
    if depth > 100 or seen[0] > 100_000:
        raise ValueError("its modules are in each other without end")
    state = getattr(module, "state", None)
    if not isinstance(state, dict):
        return
    for part in ("_parameters", "_buffers"):
        for name, tensor in _items(state.get(part)):
            if isinstance(tensor, Tensor):
                found[f"{prefix}{name}"] = tensor
    for name, child in _items(state.get("_modules")):
        _collect(child, f"{prefix}{name}.", found, seen, depth + 1)


def _items(part: Any) -> Any:
    return part.items() if isinstance(part, dict) else ()
