"""Several processes that train one network: where this one stands, and what they share."""

from __future__ import annotations

import os
from typing import Any, List, Tuple

import mxnet as mx
from mxnet import nd
from mxnet.base import _LIB, check_call
from mxnet.kvstore import KVStoreBase

from ..errors import UserError

_EPOCH = 2**20  # a key beyond those of parameters


def join(config: Any, devices: List[mx.Context]) -> Tuple[Any, int, int]:
    """The place of this process among the workers: `(kvstore, rank, workers)`."""
    kind = config.kvstore
    if config.compression != "none" and not kind.startswith("dist"):
        raise UserError("--compression needs several machines: --kvstore dist_sync or the like")
    if kind == "nccl" and devices[0].device_type != "gpu":
        raise UserError("--kvstore nccl needs GPUs; use device or local on the CPU")
    if kind == "horovod":
        try:
            import horovod.mxnet as hvd
        except ImportError:
            raise UserError("--kvstore horovod needs Horovod built for MXNet; see README") from None
        hvd.init()
        return kind, hvd.rank(), hvd.size()
    if not kind.startswith("dist"):
        return kind, 0, 1
    if "DMLC_ROLE" not in os.environ:
        raise UserError(
            f"--kvstore {kind} needs a scheduler and servers: start the same command with "
            "`gluon-attention launch -n 2 -- ...`; one machine takes --kvstore device"
        )
    store = mx.kv.create(kind)
    if config.compression != "none":
        store.set_gradient_compression(
            {"type": config.compression, "threshold": config.compression_threshold}
        )
    return store, store.rank, store.num_workers


def agree(kvstore: Any, epoch: int) -> None:
    """Make sure that all workers go on from the same epoch."""
    first = nd.array([epoch])
    if kvstore == "horovod":
        import horovod.mxnet as hvd

        hvd.broadcast_(first, root_rank=0, name="epoch")
    elif not isinstance(kvstore, str):
        kvstore.broadcast(_EPOCH, first.copy(), first)
    if first.asscalar() != epoch:
        raise UserError(
            f"this worker is at epoch {epoch}, the first at {first.asscalar():g}: "
            "--log-dir must be one folder that all machines share"
        )


def leave(kvstore: Any) -> None:
    """Let a process end that failed: by itself MXNet would wait at exit for the other workers."""
    if not isinstance(kvstore, str):
        check_call(_LIB.MXKVStoreSetBarrierBeforeExit(kvstore.handle, 0))


class Keys(KVStoreBase):
    """A store for a trainer, who counts keys from 0, and would share them with other trainers."""

    type, rank, num_workers = "", 0, 1  # attributes here, properties in the base

    def __init__(self, store: Any, first: int) -> None:
        self.store, self.first, self.type = store, first, store.type
        self.rank, self.num_workers = store.rank, store.num_workers
        self.set_optimizer = store.set_optimizer

    def is_capable(self, capability: str) -> bool:
        """Servers can update in place of the workers if there is one optimizer for all keys."""
        return self.type == "dist_async"

    def broadcast(self, key: int, value: Any, out: Any, priority: int = 0) -> None:
        """Give all workers the weights of the first.

        A gradient that is pushed before these weights have come could come in their place.
        """
        self.store.broadcast(self.first + key, value, out, priority)
        nd.waitall()

    def pushpull(self, key: int, value: Any, out: Any = None, priority: int = 0) -> None:
        # Not the store's own pushpull, which refuses compressed gradients.
        self.store.push(self.first + key, value, priority)
        self.store.pull(self.first + key, value if out is None else out, priority)
