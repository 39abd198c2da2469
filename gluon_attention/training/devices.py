"""A network and MXNet made ready for training."""

from __future__ import annotations

import re
from typing import Any, Sequence

import mxnet as mx
from mxnet import gluon, nd
from mxnet.base import MXNetError

from ..errors import UserError
from .sync_bn import share_statistics


def prepare(
    net: gluon.HybridBlock, splits: Any, devices: Sequence[mx.Context], sync_bn: bool
) -> None:
    """Initialise what has no weights yet, on all devices, with shapes that the data decide."""
    several = sync_bn and len(devices) > 1
    if several:
        share_statistics(net, devices)
    fresh = [p for p in net.collect_params().values() if p._data is None and not p._deferred_init]
    for parameter in fresh:
        parameter.initialize(default_init=net.initializer, ctx=list(devices))
    net.collect_params().reset_ctx(list(devices))
    images, _ = next(iter(splits.validation.epoch(0)))
    first = nd.array(images[:1], ctx=devices[0])
    try:
        net.trace(first)
    except MXNetError:
        raise UserError(
            f"this network cannot take images of {first.shape[1:]}, channels first, as the data are"
        ) from None
    net.hybridize(static_alloc=True, static_shape=not several)  # devices that wait for each other


def has_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether oneDNN has convolutions in bfloat16 here; where nothing is told, they are tried."""
    try:
        with open(cpuinfo, encoding="utf-8") as file:
            flags = re.search(r"^flags\s*:(.*)", file.read(), re.MULTILINE)
    except OSError:  # not Linux
        return True
    return flags is None or {"avx512bw", "avx512vl", "avx512dq"} <= set(flags.group(1).split())


def lower_precision(dtype: str, devices: Sequence[mx.Context]) -> None:
    """Let MXNet insert casts: products in the short type, sums and weights in float32."""
    from mxnet.contrib import amp

    if dtype == "float16" and devices[0].device_type != "gpu":
        raise UserError("--dtype float16 needs a GPU; the CPU has bfloat16 and float32")
    if dtype == "float16":
        amp.init(target_dtype=dtype)
        return
    if not has_bfloat16():
        raise UserError(
            "--dtype bfloat16 needs a processor with AVX-512, and this has none: leave it out"
        )
    # oneDNN has no products of features, and MXNet's own are twenty times slower in bfloat16.
    in_float32 = [*amp.lists.symbol_bf16.FP32_FUNCS, "elemwise_mul"]
    amp.init(target_dtype=dtype, fp32_ops=in_float32)
