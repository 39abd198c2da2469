"""The processes that train one network together: their ranks, devices and store of gradients."""

from __future__ import annotations

import os
from typing import Any, List, Sequence, Union

import mxnet as mx
from mxnet import nd
from mxnet.base import _LIB, check_call
from mxnet.kvstore import KVStoreBase

from ..errors import UserError
from .config import Config

_EPOCH_KEY, _VOTE_KEY = 2**20, 2**20 + 1  # beyond the keys of parameters
_CONNECTED: List[str] = []  # the distributed store of this process


class Workers:
    """The workers of a job, from the side of one of them; one worker unless --kvstore is dist_*.

    Attributes:
        store: sums gradients: the name of a store in this process, or a store over processes.
        rank: number of this worker.
        count: number of workers.
        devices: contexts that this worker computes on.
    """

    def __init__(
        self, store: Union[str, mx.kv.KVStore, KVStoreBase], devices: Sequence[mx.Context]
    ) -> None:
        self.store, self.devices = store, list(devices)
        self.rank, self.count = 0, 1
        if not isinstance(store, str):
            self.rank, self.count = store.rank, store.num_workers
        if isinstance(store, HorovodStore):  # one device per worker
            self.devices = [devices[store.engine.local_rank() % len(devices)]]

    @property
    def server_updates(self) -> bool:
        """Whether the parameter server applies the optimizer to each worker's gradient."""
        return getattr(self.store, "type", "") == "dist_async"

    def trainer_store(self, first_key: int) -> Union[str, OffsetStore]:
        """The `kvstore` of a `gluon.Trainer` whose parameters have keys from `first_key` on."""
        return self.store if isinstance(self.store, str) else OffsetStore(self.store, first_key)

    def check_same_epoch(self, epoch: int) -> None:
        """Refuse to train if another worker resumes from another epoch."""
        first = nd.array([epoch])
        if not isinstance(self.store, str):
            self.store.broadcast(_EPOCH_KEY, first.copy(), first)
        if first.asscalar() != epoch:
            raise UserError(
                f"this worker is at epoch {epoch}, the first at {first.asscalar():g}: "
                "--log-dir must be one folder that all machines share"
            )

    def release(self) -> None:
        """Let a failed worker exit: by default MXNet waits for the other workers at exit."""
        if not isinstance(self.store, (str, HorovodStore)):
            check_call(_LIB.MXKVStoreSetBarrierBeforeExit(self.store.handle, 0))

    def bytes_per_step(self, numbers: int, compressed: bool) -> float:
        """Bytes a worker sends and receives for so many gradients; formulas in docs/scaling.md."""
        size = 4 * numbers
        if isinstance(self.store, HorovodStore):  # ring all-reduce: scatter, then gather
            return 2 * size * 2 * (self.count - 1) / self.count
        return size * (1 / 16 if compressed else 1) + size  # 2 of 32 bits out; weights back


def connect(config: Config, devices: Sequence[mx.Context]) -> Workers:
    """The workers of this job, once all of them have started."""
    kind = config.kvstore
    if config.compression and not kind.startswith("dist"):
        raise UserError("--compression needs several machines: --kvstore dist_sync or the like")
    if config.compression and config.skip_nonfinite:
        raise UserError("--skip-nonfinite needs exact sums over workers: leave out --compression")
    if config.dtype == "float16" and (config.compression or kind == "dist_async"):
        raise UserError(
            "--dtype float16 looks for overflows in sums of gradients, which --compression and "
            "--kvstore dist_async do not have: leave them out"
        )
    if kind == "nccl" and devices[0].device_type != "gpu":
        raise UserError("--kvstore nccl needs GPUs; use device or local on the CPU")
    if kind == "horovod":
        return Workers(_horovod(), devices)
    if not kind.startswith("dist"):
        return Workers(kind, devices)
    if "DMLC_ROLE" not in os.environ:
        raise UserError(
            f"--kvstore {kind} needs a scheduler and servers: start the same command with "
            "`gluon-attention launch -n 2 -- ...`; one machine needs only --kvstore device"
        )
    if _CONNECTED:  # a second store in one process would wait for ever
        raise UserError(f"--kvstore {kind} trains one network per process: start another one")
    _CONNECTED.append(kind)
    store = mx.kv.create(kind)
    if config.compression:
        store.set_gradient_compression(
            {"type": config.compression, "threshold": config.compression_threshold}
        )
    return Workers(store, devices)


def _horovod() -> HorovodStore:
    try:
        import horovod.mxnet as hvd
    except ImportError:
        raise UserError(
            "--kvstore horovod needs Horovod built for MXNet: docs/scaling.md says how; "
            "--kvstore dist_sync needs no other package"
        ) from None
    hvd.init()
    return HorovodStore(hvd)


class HorovodStore(KVStoreBase):
    """Horovod as a store: workers sum gradients among themselves, without servers."""

    type, rank, num_workers = "horovod", 0, 1  # attributes here, properties in the base

    def __init__(self, engine: Any) -> None:
        """`engine` is the module `horovod.mxnet`."""
        self.engine, self.rank, self.num_workers = engine, engine.rank(), engine.size()

    def is_capable(self, capability: str) -> bool:
        return False

    def broadcast(self, key: int, value: nd.NDArray, out: Any, priority: int = 0) -> None:
        self.engine.broadcast_(value, root_rank=0, name=str(key), priority=priority)
        _copy(value, _as_list(out))

    def pushpull(self, key: int, value: Any, out: Any = None, priority: int = 0) -> None:
        first, *others = _as_list(value)
        for array in others:
            first += array.as_in_context(first.context)
        self.engine.allreduce_(first, average=False, name=str(key), priority=priority)
        _copy(first, [*others, *([] if out is None else _as_list(out))])


def _as_list(arrays: Any) -> Sequence[nd.NDArray]:
    return [arrays] if isinstance(arrays, nd.NDArray) else arrays


def _copy(source: nd.NDArray, targets: Sequence[nd.NDArray]) -> None:
    for target in targets:
        if target is not source:
            source.copyto(target)


class OffsetStore(KVStoreBase):
    """A store whose keys start at an offset: each trainer counts its keys from 0."""

    type, rank, num_workers = "", 0, 1  # attributes here, properties in the base

    def __init__(self, store: Any, offset: int) -> None:
        self.store, self.offset, self.type = store, offset, store.type
        self.rank, self.num_workers = store.rank, store.num_workers
        self.set_optimizer = store.set_optimizer

    def is_capable(self, capability: str) -> bool:
        """Servers can apply the optimizer if all keys share one."""
        return self.type == "dist_async"

    def broadcast(self, key: int, value: nd.NDArray, out: Any, priority: int = 0) -> None:
        """Give all workers the weights of the first.

        It waits for the broadcast, which a gradient pushed earlier could overwrite, and copies
        through numpy, because ps-lite cannot send arrays in oneDNN's blocked layout.
        """
        plain = nd.array(value.asnumpy(), ctx=value.context, dtype=value.dtype)
        self.store.broadcast(self.offset + key, plain, out, priority)
        nd.waitall()

    def pushpull(self, key: int, value: Any, out: Any = None, priority: int = 0) -> None:
        if isinstance(self.store, HorovodStore):
            self.store.pushpull(self.offset + key, value, out, priority)
            return
        # Not the store's own pushpull, which refuses compressed gradients.
        self.store.push(self.offset + key, value, priority)
        self.store.pull(self.offset + key, value if out is None else out, priority)


class AllWorkers:
    """Whether a condition holds on every worker; all workers have to ask equally often."""

    def __init__(self, workers: Workers) -> None:
        alone = isinstance(workers.store, str) or workers.server_updates  # no waiting
        self.store = None if alone else OffsetStore(workers.store, _VOTE_KEY)
        if self.store:
            self.store.broadcast(0, nd.zeros((1,)), nd.zeros((1,)))

    def __call__(self, holds: bool) -> bool:
        if self.store is None:
            return holds
        against = nd.array([not holds])
        self.store.pushpull(0, against)
        return against.asscalar() == 0
