"""Who computes the training of a network, and in which data type."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import mxnet as mx

from .. import native
from ..errors import UserError
from .devices import set_precision


def accelerate(net: Any, config: Any, devices: Sequence[mx.Context]) -> Optional[str]:
    """Let the native library train a network that it knows, on a CPU; else MXNet does.

    Returns:
        A line on the choice, where there was one.
    """
    asked = config.dtype != "auto"
    dtype = config.dtype if asked else _fastest(net, config, devices)
    if dtype not in net.dtypes:
        accepted = " or ".join(net.dtypes)
        raise UserError(f"this network trains in {accepted}, not --dtype {dtype}")
    twin, reason = _twin(net, config, devices, dtype)
    if twin is None and config.native == "1":
        raise UserError(f"--native 1 cannot be: {reason}; leave it out to train without")
    if twin is None:
        set_precision(dtype, devices)
        return None if asked else f"training by MXNet in {dtype}"
    net.native = twin
    return f"training by the native library ({native.library().instruction_set}) in {dtype}"


def _fastest(net: Any, config: Any, devices: Sequence[mx.Context]) -> str:
    """bfloat16 where the native library gains by it; MXNet's own is slower than float32."""
    twin, _ = _twin(net, config, devices, "float32")
    gains = twin is not None and native.library().bfloat16_pays and "bfloat16" in net.dtypes
    return "bfloat16" if gains else "float32"


def _twin(
    net: Any, config: Any, devices: Sequence[mx.Context], dtype: str
) -> Tuple[Optional[native.Twin], str]:
    """The native twin of a network, or else why there is none."""
    if config.native == "0":
        return None, "it is switched off"
    if devices[0].device_type != "cpu":
        return None, "the native library computes on CPUs"
    if config.sync_bn and len(devices) > 1:
        return None, "the native library has no --sync-bn"
    if native.library() is None:
        return None, "the native library is not built (make native)"
    return native.twin(net, dtype), "the native library does not know this network"
