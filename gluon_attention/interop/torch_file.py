"""PyTorch checkpoints without PyTorch: names, and tensors that load lazily.

Since 1.6 `torch.save` writes zip archives; before, it wrote a stream of pickles followed by
numbers. The first bytes of a file distinguish the two. Every length is checked against the size of
the file.
"""

from __future__ import annotations

import io
import os
import zipfile
from abc import ABC, abstractmethod
from typing import Any, BinaryIO, Dict, Iterable, List, Optional, Tuple

from ..errors import UserError
from .tensor_table import reading
from .tensors import CALLS, STORAGE_TYPES, Storage, Tensor, item_size, refuse_kind
from .unpickler import MAX_BYTES, Global, Instance, read_pickle

ZIP = b"PK\x03\x04"
STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickle of torch's number for its files

# Keys of the weights in checkpoints, the most common first.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model_dict", "model", "net", "weights")
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")  # in front of all names of a wrapped module


def is_torch(head: bytes) -> bool:
    """Whether a file with these first bytes may be PyTorch's."""
    return head.startswith((ZIP, STREAM)) or head[257:262] == b"ustar"


def read_torch(file: str) -> Dict[str, Tensor]:
    """The weights in a checkpoint; their numbers load lazily."""
    with reading(file):
        with open(file, "rb") as stream:
            head = stream.read(512)
        if not head.startswith((ZIP, STREAM)):
            raise UserError(
                "it is a tar file of PyTorch's first versions; load it in a PyTorch that can and "
                "save its state_dict again"
            )
        return weights_in((_Archive if head.startswith(ZIP) else _Stream)(file).read())


class _File(ABC):
    """Shared by both formats: storages by key, and a limit on the total of bytes read."""

    def __init__(self, file: str) -> None:
        self.file, self.size = file, os.path.getsize(file)
        # Entries of an archive can overlap, so that their sum exceeds the archive.
        self.bytes_left = 4 * self.size + (1 << 20)
        self.order = "<"
        self.storages: Dict[str, Storage] = {}
        self.last_read: Tuple[Optional[str], bytes] = (None, b"")  # for views of one storage

    def unpickle(self, stream: BinaryIO) -> Any:
        return read_pickle(stream, CALLS, self.persistent)

    def persistent(self, reference: Any) -> Any:
        """A storage, or the class of a module, which old files save with its source."""
        if isinstance(reference, tuple) and reference[:1] == ("module",):
            return reference[1]
        if not isinstance(reference, tuple) or reference[:1] != ("storage",):
            raise ValueError("it refers to something that is not in it")
        _, kind, key, _, count, *view = reference
        code = STORAGE_TYPES.get(kind.path.rpartition(".")[2]) if isinstance(kind, Global) else None
        if code is None or (view and view[0] is not None):
            refuse_kind()
        if type(count) is not int or count < 0 or count * item_size(code) > self.size:
            raise ValueError("a storage is larger than the file")
        key = str(key)
        if key not in self.storages:
            self.storages[key] = Storage(code, count, lambda: self.content(key), self.order)
        storage = self.storages[key]
        if (storage.code, storage.count) != (code, count):
            raise ValueError("a storage is of two kinds")
        return storage

    def content(self, key: str) -> bytes:
        """The bytes of a storage."""
        if self.last_read[0] == key:
            return self.last_read[1]
        with reading(self.file):
            raw = self.read_storage(key)
            self.bytes_left -= len(raw)
            storage = self.storages[key]
            if len(raw) < storage.count * item_size(storage.code) or self.bytes_left < 0:
                raise ValueError("a storage has fewer numbers than declared")
        self.last_read = key, raw
        return raw

    @abstractmethod
    def read_storage(self, key: str) -> bytes:
        """The bytes of a storage."""


class _Archive(_File):
    """A zip archive: `NAME/data.pkl` and `NAME/data/KEY`, not compressed."""

    def read(self) -> Any:
        self.archive = zipfile.ZipFile(self.file)  # open as long as tensors refer to it
        names = self.archive.namelist()
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError("it is a zip archive but no checkpoint of torch.save")
        self.root = pickles[0].rpartition("/")[0]
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

    def read_storage(self, key: str) -> bytes:
        return self.entry(f"data/{key}", self.size)


class _Stream(_File):
    """Pickles of a magic number, a version, the machine, the object and its keys; then numbers."""

    def read(self) -> Any:
        with open(self.file, "rb") as stream:
            pickles = io.BytesIO(stream.read(MAX_BYTES))
            self.unpickle(pickles)
            version, machine = self.unpickle(pickles), self.unpickle(pickles)
            if version != 1001 or not isinstance(machine, dict):
                raise UserError(f"it is of version {version!a} of torch's files; 1001 is read")
            self.order = "<" if machine.get("little_endian", True) else ">"
            saved, keys = self.unpickle(pickles), self.unpickle(pickles)
            self.offsets = self.storage_offsets(stream, pickles.tell(), keys)
        return saved

    def storage_offsets(self, stream: BinaryIO, offset: int, keys: Any) -> Dict[str, int]:
        """Offsets of the numbers of each storage, behind eight bytes with their count."""
        offsets = {}
        for key in map(str, keys):
            stream.seek(offset)
            count = int.from_bytes(stream.read(8), "little")
            if key not in self.storages or self.storages[key].count != count:
                raise ValueError("a storage has another length than its tensors")
            offsets[key] = offset + 8
            offset += 8 + count * item_size(self.storages[key].code)
        if offset > self.size or set(offsets) != set(self.storages):
            raise ValueError("storages are missing at its end")
        return offsets

    def read_storage(self, key: str) -> bytes:
        with open(self.file, "rb") as stream:
            stream.seek(self.offsets[key])
            storage = self.storages[key]
            return stream.read(storage.count * item_size(storage.code))


def weights_in(saved: Any) -> Dict[str, Tensor]:
    """The weights of a state_dict or a module, alone or inside a dictionary."""
    weights = _weights(saved)
    if not weights and isinstance(saved, dict):
        inner = {key: _weights(value) for key, value in saved.items() if isinstance(key, str)}
        inner = {key: tensors for key, tensors in inner.items() if tensors}
        keys = [key for key in HOLDERS if key in inner] or list(inner)
        if len(keys) > 1 and keys[0] not in HOLDERS:
            names = " and ".join(ascii(key)[:40] for key in keys[:2])
            raise UserError(f"it holds several sets of weights, {names}; save one alone")
        weights = inner[keys[0]] if keys else {}
    if not weights:
        raise UserError("it holds no weights: neither a state_dict nor a module")
    if "n_averaged" in weights:  # a counter of torch.optim.swa_utils.AveragedModel
        weights = {name: tensor for name, tensor in weights.items() if name != "n_averaged"}
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in weights):
            weights = {name[len(wrapper) :]: tensor for name, tensor in weights.items()}
    return weights


def _weights(value: Any) -> Dict[str, Tensor]:
    """The tensors of a module or state_dict; none of anything else."""
    if isinstance(value, Instance):
        if value.path.endswith(".getattr") and value.arguments[1:] == ("state_dict",):
            value = value.arguments[0]  # the bound method, saved by mistake in place of its result
        weights: Dict[str, Tensor] = {}
        _collect(value, "", weights, [0])
        return weights
    if not isinstance(value, dict) or not value:
        return {}
    all_named = all(isinstance(k, str) and isinstance(t, Tensor) for k, t in value.items())
    return dict(value) if all_named else {}


def _collect(
    module: Any, prefix: str, weights: Dict[str, Tensor], visits: List[int], depth: int = 0
) -> None:
    """Add parameters and buffers of a module and its children by their names in a state_dict."""
    visits[0] += 1
    if depth > 100 or visits[0] > 100_000:
        raise ValueError("its modules are nested without end")
    state = getattr(module, "state", None)
    if not isinstance(state, dict):
        return
    for part in ("_parameters", "_buffers"):
        for name, tensor in _items(state.get(part)):
            if isinstance(tensor, Tensor):
                weights[f"{prefix}{name}"] = tensor
    for name, child in _items(state.get("_modules")):
        _collect(child, f"{prefix}{name}.", weights, visits, depth + 1)


def _items(part: Any) -> Iterable[Tuple[Any, Any]]:
    return part.items() if isinstance(part, dict) else ()
