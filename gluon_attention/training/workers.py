"""Several processes that train one network: where this one stands, and what they share."""

from __future__ import annotations

import os
from typing import Any, List, Sequence, Tuple

import mxnet as mx
from mxnet import nd
from mxnet.base import _LIB, check_call
from mxnet.kvstore import KVStoreBase

from ..errors import UserError

_EPOCH, _VOTES = 2**20, 2**20 + 1  # keys beyond those of parameters
_JOINED: List[str] = []  # the store of this process


def connect(config: Any, devices: List[mx.Context]) -> Tuple[Any, int, int]:
    """The place of this process among the workers: `(kvstore, rank, workers)`."""
    kind = config.kvstore
    if config.compression and not kind.startswith("dist"):
        raise UserError("--compression needs several machines: --kvstore dist_sync or the like")
    if config.compression and config.skip_nonfinite:
        raise UserError("--skip-nonfinite asks all workers what --compression cannot send exactly")
    if kind == "nccl" and devices[0].device_type != "gpu":
        raise UserError("--kvstore nccl needs GPUs; use device or local on the CPU")
    if kind == "horovod":
        try:
            import horovod.mxnet as hvd
        except ImportError:
            raise UserError(
                "--kvstore horovod needs Horovod built for MXNet: docs/scaling.md says how; "
                "--kvstore dist_sync needs nothing more"
            ) from None
        hvd.init()
        return HorovodStore(hvd), hvd.rank(), hvd.size()
    if not kind.startswith("dist"):
        return kind, 0, 1
    if "DMLC_ROLE" not in os.environ:
        raise UserError(
            f"--kvstore {kind} needs a scheduler and servers: start the same command with "
            "`gluon-attention launch -n 2 -- ...`; one machine takes --kvstore device"
        )
    if _JOINED:  # MXNet would wait for ever
        raise UserError(f"--kvstore {kind} trains one network a start: start again for the next")
    _JOINED.append(kind)
    store = mx.kv.create(kind)
    if config.compression:
        store.set_gradient_compression(
            {"type": config.compression, "threshold": config.compression_threshold}
        )
    return store, store.rank, store.num_workers


def check_same_epoch(kvstore: Any, epoch: int) -> None:
    """Make sure that all workers go on from the same epoch."""
    first = nd.array([epoch])
    if not isinstance(kvstore, str):
        kvstore.broadcast(_EPOCH, first.copy(), first)
    if first.asscalar() != epoch:
        raise UserError(
            f"this worker is at epoch {epoch}, the first at {first.asscalar():g}: "
            "--log-dir must be one folder that all machines share"
        )


def release(kvstore: Any) -> None:
    """Let a process end that failed: by itself MXNet would wait at exit for the other workers."""
    if not isinstance(kvstore, (str, HorovodStore)):
        check_call(_LIB.MXKVStoreSetBarrierBeforeExit(kvstore.handle, 0))


def own_devices(kvstore: Any, devices: List[mx.Context]) -> List[mx.Context]:
    """Under Horovod a process has one device, by its number on its machine; else all of them."""
    if not isinstance(kvstore, HorovodStore):
        return devices
    return [devices[kvstore.engine.local_rank() % len(devices)]]


class HorovodStore(KVStoreBase):
    """Horovod as a store: workers sum gradients among themselves, without servers."""

    type, rank, num_workers = "horovod", 0, 1  # attributes here, properties in the base

    def __init__(self, engine: Any) -> None:
        """`engine` is the module `horovod.mxnet`."""
        self.engine, self.rank, self.num_workers = engine, engine.rank(), engine.size()

    def is_capable(self, capability: str) -> bool:
        return False

    def broadcast(self, key: int, value: Any, out: Any, priority: int = 0) -> None:
        self.engine.broadcast_(value, root_rank=0, name=str(key), priority=priority)
        _copy(value, _listed(out))

    def pushpull(self, key: int, value: Any, out: Any = None, priority: int = 0) -> None:
        first, *others = _listed(value)
        for array in others:
            first += array.as_in_context(first.context)
        self.engine.allreduce_(first, average=False, name=str(key), priority=priority)
        _copy(first, [*others, *([] if out is None else _listed(out))])


def _listed(arrays: Any) -> Sequence[nd.NDArray]:
    return [arrays] if isinstance(arrays, nd.NDArray) else arrays


def _copy(array: nd.NDArray, places: Sequence[nd.NDArray]) -> None:
    for place in places:
        if place is not array:
            array.copyto(place)


class OffsetStore(KVStoreBase):
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

        A gradient that is pushed before these weights have come could come in their place. By way
        of numpy, as weights that oneDNN has laid out anew cannot be sent.
        """
        plain = nd.array(value.asnumpy(), ctx=value.context, dtype=value.dtype)
        self.store.broadcast(self.first + key, plain, out, priority)
        nd.waitall()

    def pushpull(self, key: int, value: Any, out: Any = None, priority: int = 0) -> None:
        if isinstance(self.store, HorovodStore):
            self.store.pushpull(self.first + key, value, out, priority)
            return
        # Not the store's own pushpull, which refuses compressed gradients.
        self.store.push(self.first + key, value, priority)
        self.store.pull(self.first + key, value if out is None else out, priority)


class AllWorkers:
    """Asks all workers whether something holds for each of them; all must ask equally often."""

    def __init__(self, kvstore: Any) -> None:
        several = not isinstance(kvstore, str) and kvstore.type != "dist_async"
        self.keys = OffsetStore(kvstore, _VOTES) if several else None
        if self.keys:
            self.keys.broadcast(0, nd.zeros((1,)), nd.zeros((1,)))

    def __call__(self, holds: bool) -> bool:
        if self.keys is None:  # alone, or of workers that do not wait for each other
            return holds
        against = nd.array([not holds])
        self.keys.pushpull(0, against)
        return against.asscalar() == 0
