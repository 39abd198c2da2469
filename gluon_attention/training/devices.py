"""Devices, their precision, and the preparation of a network for training on them."""

from __future__ import annotations

import os
import re
from typing import List, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon, nd
from mxnet.base import MXNetError

from .. import runtime
from ..errors import UserError

SyncBatchNorm = gluon.contrib.nn.SyncBatchNorm
WORKSPACES = 4096  # of CPU operators, more than a network has; MXNet's default is 4


def choose_devices(num_gpus: Optional[int] = None) -> List[mx.Context]:
    """Contexts to compute on: for None all GPUs, or the CPU where there are none; the CPU for 0."""
    if num_gpus == 0:
        return [mx.cpu(0)]
    try:
        available = mx.context.num_gpus()
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"CUDA fails ({reason}): use `--num-gpus 0` to run on the CPU") from None
    count = available if num_gpus is None else num_gpus
    if count > available:
        raise UserError(
            f"--num-gpus {count} asks for more GPUs than the {available} that MXNet can use here: "
            "use `--num-gpus 0` to run on the CPU"
        )
    problem = runtime.gpu_problem(runtime.visible_gpus()[:count]) if count else None
    if problem:
        raise UserError(problem)
    return [mx.gpu(i) for i in range(count)] or [mx.cpu(0)]


def prepare(
    net: gluon.HybridBlock, image: np.ndarray, devices: Sequence[mx.Context], sync_bn: bool
) -> None:
    """Initialise parameters without weights on all devices; `image` (1, C, H, W) defines shapes."""
    synchronised = sync_bn and len(devices) > 1
    if synchronised:
        share_statistics(net, devices)
    parameters = net.collect_params()
    for parameter in parameters.values():
        if parameter._data is None and not parameter._deferred_init:
            parameter.initialize(default_init=net.initializer, ctx=list(devices))
    parameters.reset_ctx(list(devices))
    try:
        net.trace(nd.array(image, ctx=devices[0]))
    except MXNetError:
        raise UserError(
            f"this network does not accept images {image.shape[1:]}, channels first, as in the data"
        ) from None
    # With a static shape the operators of synchronised BatchNorm deadlock.
    net.hybridize(static_alloc=True, static_shape=not synchronised)


def has_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether oneDNN has convolutions in bfloat16 here; true where flags are unknown."""
    flags = re.search(r"^flags\s*:(.*)", _text(cpuinfo), re.MULTILINE)
    return flags is None or {"avx512bw", "avx512vl", "avx512dq"} <= set(flags.group(1).split())


def bfloat16_pays(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether MXNet trains faster in bfloat16: on AMD's cores with bfloat16 products."""
    text = _text(cpuinfo)
    return "AuthenticAMD" in text and bool(re.search(r"^flags\s*:.*\bavx512_bf16\b", text, re.M))


def _text(cpuinfo: str) -> str:
    try:
        with open(cpuinfo, encoding="utf-8") as file:
            return file.read()
    except OSError:  # not Linux
        return ""


def check_precision(dtype: str, devices: Sequence[mx.Context]) -> None:
    """Refuse a data type that the devices do not compute in."""
    if dtype == "float16" and devices[0].device_type != "gpu":
        raise UserError("--dtype float16 needs a GPU; the CPU has bfloat16 and float32")
    if dtype == "bfloat16" and not has_bfloat16():
        raise UserError(
            "--dtype bfloat16 needs a processor with AVX-512, which this one lacks: leave it out"
        )


def set_precision(dtype: str, devices: Sequence[mx.Context]) -> None:
    """Let MXNet insert casts: products in the shorter type, sums and weights in float32.

    "auto" means float32 here; `accelerate` chooses a type for training.
    """
    from mxnet.contrib import amp

    check_precision(dtype, devices)
    if dtype in ("float32", "auto"):
        return
    if dtype == "float16":
        amp.init(target_dtype=dtype)
        return
    # oneDNN has no elementwise product in bfloat16, and MXNet's own is twenty times slower.
    in_float32 = [*amp.lists.symbol_bf16.FP32_FUNCS, "elemwise_mul"]
    amp.init(target_dtype=dtype, fp32_ops=in_float32)


def share_statistics(net: gluon.Block, devices: Sequence[mx.Context]) -> None:
    """Make every BatchNorm of a network synchronized; the network must not be hybridized yet.

    The operators of all devices wait for each other. CPU devices share MXNET_CPU_TEMP_COPY
    workspaces; with too few of them the operators deadlock.
    """
    workspaces = int(os.environ.get("MXNET_CPU_TEMP_COPY", 4))
    if devices[0].device_type == "cpu" and workspaces < WORKSPACES:
        raise UserError(
            f"--sync-bn on several CPU devices needs MXNET_CPU_TEMP_COPY={WORKSPACES} "
            "in the environment"
        )

    def share(block: gluon.Block) -> None:
        if isinstance(block, gluon.nn.BatchNorm):  # keeps parameters, name and position
            if block._kwargs["axis"] != 1:
                raise UserError(f"--sync-bn needs channels on axis 1, unlike those of {block.name}")
            block.__class__ = SyncBatchNorm
            block._kwargs = {name: v for name, v in block._kwargs.items() if name != "axis"}
            block._kwargs.update(ndev=len(devices), key=block.prefix)

    net.apply(share)
