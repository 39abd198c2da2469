"""Tensors as in PyTorch's files: views of storages, checked before use."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

from ..errors import UserError
from ..storage.safetensors_file import RawTensor

BFLOAT16 = "bfloat16"  # the upper half of a float32, which numpy has no type for
STORAGE_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}


SAFETENSORS_TYPES = {
    "F32": "f4",
    "F64": "f8",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "u1",
}


class Storage:
    """The numbers of one or more tensors; `read` returns their bytes."""

    def __init__(self, code: str, count: int, read: Callable[[], bytes], order: str) -> None:
        self.code, self.count, self.read, self.order = code, count, read, order

    def values(self) -> np.ndarray:
        """All of the numbers, bfloat16 as float32."""
        raw = self.read()
        if self.code == BFLOAT16:
            halves = np.frombuffer(raw, f"{self.order}u2", self.count)
            return (halves.astype("u4") << 16).view("f4")
        return np.frombuffer(raw, self.order + self.code, self.count)


class Tensor(NamedTuple):
    """A view of a storage."""

    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]  # in elements

    def is_real(self) -> bool:
        """Whether the numbers are of a floating-point type."""
        return self.storage.code in ("f4", "f8", "f2", BFLOAT16)

    def array(self) -> np.ndarray:
        """The numbers as a float32 array."""
        if not self.is_real():
            raise UserError(f"it holds integers ({self.storage.code}) where weights belong")
        values = self.storage.values()
        steps = [step * values.itemsize for step in self.strides]
        view = np.ndarray(self.shape, values.dtype, values, self.offset * values.itemsize, steps)
        return np.ascontiguousarray(view, dtype="float32").reshape(self.shape)


def from_safetensors(name: str, raw: RawTensor) -> Tensor:
    code = SAFETENSORS_TYPES.get(raw.dtype)
    if code is None:
        raise UserError(f"'{name}' has the unsupported type {raw.dtype}")
    count = int(np.prod(raw.shape, dtype=np.int64))
    strides = tuple(int(np.prod(raw.shape[axis + 1 :])) for axis in range(len(raw.shape)))
    return Tensor(Storage(code, count, lambda: raw.content, "<"), 0, raw.shape, strides)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """A tensor, after a check that its elements are inside its storage."""
    tensor = Tensor(storage, offset, tuple(shape), tuple(strides))
    numbers = (offset, *tensor.shape, *tensor.strides)
    if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("the arguments of a tensor are no storage and numbers")
    if len(tensor.shape) != len(tensor.strides) or len(tensor.shape) > 8:
        raise ValueError("a tensor has other strides than sides")
    last, count = offset, 1
    for side, stride in zip(tensor.shape, tensor.strides):
        last, count = last + (side - 1) * stride, count * side
    if count and (last >= storage.count or count > storage.count):
        raise ValueError("a tensor is larger than its storage")
    return tensor


def _parameter(data: Any, *_: Any) -> Any:
    return data


def refuse_kind(*_: Any) -> Any:
    raise UserError("it holds sparse, quantized or float8 tensors, which are not supported")


_UTILS = "torch._utils._rebuild_"
CALLS: Dict[str, Callable[..., Any]] = {
    f"{_UTILS}tensor": _rebuild_tensor,  # before 0.4
    f"{_UTILS}tensor_v2": _rebuild_tensor,
    f"{_UTILS}tensor_v3": refuse_kind,
    f"{_UTILS}sparse_tensor": refuse_kind,
    f"{_UTILS}qtensor": refuse_kind,
    f"{_UTILS}parameter": _parameter,
    f"{_UTILS}parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,  # before 0.4
    "torch.autograd.variable.Variable": _parameter,
}


def item_size(code: str) -> int:
    """Bytes of a number."""
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize
