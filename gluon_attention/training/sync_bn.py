"""BatchNorm whose statistics are those of the batch of all devices of a machine."""

from __future__ import annotations

import os
from typing import Sequence

import mxnet as mx
from mxnet import gluon

from ..errors import UserError

SyncBatchNorm = gluon.contrib.nn.SyncBatchNorm
TEMPORARIES = 64  # of CPU operators; MXNet takes 4 unless told


def share_statistics(net: gluon.Block, devices: Sequence[mx.Context]) -> None:
    """Turn every BatchNorm of a network that is not hybridized yet into a synchronized one.

    Its operators wait for each other. CPU devices take turns with a few pieces of temporary
    memory, and one that waits for a piece another holds while that one waits for it waits for ever.
    """
    copies = int(os.environ.get("MXNET_CPU_TEMP_COPY", 4))
    if devices[0].device_type == "cpu" and copies < TEMPORARIES:
        raise UserError(
            f"--sync-bn on several CPU devices needs MXNET_CPU_TEMP_COPY={TEMPORARIES} "
            "in the environment"
        )

    def share(block: gluon.Block) -> None:
        if isinstance(block, gluon.nn.BatchNorm):  # parameters, name and place stay
            _check(block)
            block.__class__ = SyncBatchNorm
            block._kwargs = {name: v for name, v in block._kwargs.items() if name != "axis"}
            block._kwargs.update(ndev=len(devices), key=block.prefix)

    net.apply(share)


def _check(block: gluon.Block) -> None:
    if block._kwargs["axis"] != 1:
        raise UserError(f"--sync-bn needs channels on axis 1, which {block.name} has not")
