"""Choice of the library that trains a network or predicts, and of the data type."""

from __future__ import annotations

from typing import Any, ContextManager, List, Optional, Sequence, Tuple

import mxnet as mx

from .. import native
from ..errors import UserError
from ..installation import build_native
from .devices import bfloat16_pays, set_precision

UNKNOWN = "the native library does not support this network"


def accelerate(net: Any, config: Any, devices: Sequence[mx.Context]) -> Optional[str]:
    """Let the native library train a network that it supports on a CPU; else MXNet trains it.

    Returns:
        A line about the choice, if there was one.
    """
    automatic = config.dtype == "auto"
    dtype = _fastest(net, config, devices) if automatic else config.dtype
    twins, reason = _twins(net, config, devices, dtype)
    if not twins and config.native == "1":
        raise UserError(f"--native 1 is impossible: {reason}; leave it out to train by MXNet")
    if not twins and dtype not in net.dtypes:
        accepted = " or ".join(net.dtypes)
        raise UserError(f"this network trains in {accepted}, not --dtype {dtype} ({reason})")
    if not twins:
        set_precision(dtype, devices)
        return f"training by MXNet in {dtype}" if automatic else None
    for part, twin in zip(net.native_parts, twins):
        part.native = twin
    return f"training by the native library ({native.library().instruction_set}) in {dtype}"


def prediction(
    net: Any, choice: str, devices: Sequence[mx.Context], dtype: str = "float32"
) -> ContextManager[None]:
    """A context in which the native library predicts if it supports the network, else MXNet.

    Args:
        choice: of --native.
        dtype: of the library; float32 where it has no such type.
    """
    predictors, reason = [], _obstacle(choice, devices)
    if not reason:
        dtype = dtype if dtype in native.DTYPES else "float32"
        predictors = [native.predictor(part, dtype) for part in net.native_parts]
        reason = UNKNOWN
    if not predictors or None in predictors:
        if choice == "1":
            raise UserError(f"--native 1 is impossible: {reason}; leave it out to use MXNet")
        predictors = []
    return native.predicting(net, net.native_parts, predictors)


def _fastest(net: Any, config: Any, devices: Sequence[mx.Context]) -> str:
    """bfloat16 if the library that trains is faster in it on this CPU, else float32."""
    if devices[0].device_type != "cpu" or config.sync_bn:
        return "float32"
    twins, _ = _twins(net, config, devices, "float32")
    by_mxnet = "bfloat16" in net.dtypes and bfloat16_pays()
    gains = native.library().bfloat16_pays if twins else by_mxnet
    return "bfloat16" if gains else "float32"


def _twins(
    net: Any, config: Any, devices: Sequence[mx.Context], dtype: str
) -> Tuple[List[native.Twin], str]:
    """Native twins of all parts of a network, or an empty list and the reason."""
    reason = _obstacle(config.native, devices)
    if reason:
        return [], reason
    if dtype not in native.DTYPES:
        return [], f"the native library computes in {' or '.join(native.DTYPES)}"
    if config.sync_bn and len(devices) > 1:
        return [], "the native library has no --sync-bn"
    # The input of a part may depend on trained parameters.
    options = [dict(image_gradient=part is not net) for part in net.native_parts]
    twins = [native.twin(part, dtype, **o) for part, o in zip(net.native_parts, options)]
    return [] if None in twins else twins, UNKNOWN


def _obstacle(choice: str, devices: Sequence[mx.Context]) -> str:
    """Why the native library cannot compute there; empty if it can."""
    if choice == "0":
        return "it is switched off"
    if devices[0].device_type != "cpu":
        return "the native library computes on CPUs"
    if native.library() is None:
        return f"the native library is not built from these sources ({build_native()})"
    return ""
