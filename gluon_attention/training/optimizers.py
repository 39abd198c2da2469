"""Moves the parameters of a group, and averages weights over the steps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..errors import UserError
from ..tasks.task import Group
from .schedule import Schedule
from .workers import OffsetStore

_WITHOUT_DECAY = ("gamma", "beta", "bias")  # how names of parameters end


def trainable_numbers(net: gluon.Block) -> int:
    """How many numbers training moves."""
    return sum(int(np.prod(p.shape)) for p in net.collect_params().values() if p.grad_req != "null")


def named_parameters(blocks: Sequence[gluon.Block]) -> Dict[str, gluon.Parameter]:
    """Parameters by their place in the blocks, which does not change from process to process."""
    named = {}
    for number, block in enumerate(blocks):
        for name, parameter in block._collect_params_with_prefix().items():
            named[f"{number}.{name}" if len(blocks) > 1 else name] = parameter
    return named


class GroupOptimizer:
    """One optimizer over the parameters of one group."""

    def __init__(
        self, group: Group, config: Any, schedule: Schedule, kvstore: Any, first: int = 0
    ) -> None:
        """`first` is the number of parameters that other optimizers keep in the same store."""
        self.group, self.schedule, self.clip = group, schedule, config.clip
        self.count = 0  # steps made
        self.parameters = [
            p for p in named_parameters(group.blocks).values() if p.grad_req != "null"
        ]
        self.accumulates = getattr(config, "accumulate", 1) > 1
        for parameter in self.parameters:
            if parameter.name.endswith(_WITHOUT_DECAY):
                parameter.wd_mult = 0.0
            if self.accumulates:
                parameter.grad_req = "add"
        self.on_server = getattr(kvstore, "type", "") == "dist_async"
        self.ring = getattr(kvstore, "type", "") == "horovod"
        self.workers = 1 if isinstance(kvstore, str) else kvstore.num_workers
        decay = config.weight_decay / (self.workers if self.on_server else 1)  # one by each worker
        options = dict(wd=decay, learning_rate=config.lr * group.lr_scale)
        if config.optimizer in ("sgd", "nag"):
            options["momentum"] = config.momentum
        if self.on_server:
            if self.clip:
                raise UserError("--clip needs gradients that --kvstore dist_async sends away")
            options["lr_scheduler"] = schedule.served(self.workers, group.lr_scale)
        if not isinstance(kvstore, str):
            kvstore = OffsetStore(kvstore, first)
        self.trainer = gluon.Trainer(
            self.parameters,
            config.optimizer,
            options,
            kvstore=kvstore,
            update_on_kvstore=self.on_server,
        )
        if self.on_server:  # which gets the optimizer without its parameters
            undecayed = [i for i, p in enumerate(self.parameters) if p.wd_mult == 0]
            self.trainer.optimizer.wd_mult = dict.fromkeys(undecayed, 0.0)

    def begin(self) -> None:
        """A step starts: gradients that the parts of the last batch added up are set to zero."""
        if self.accumulates:
            for parameter in self.parameters:
                parameter.zero_grad()

    def rate(self, when: int) -> float:
        """Learning rate at step `when` of the run."""
        return self.schedule(when) * self.group.lr_scale

    def step(self, when: int, samples: int) -> None:
        """Move along gradients summed over `samples` at step `when` of the run."""
        if self.trainer.optimizer.lr_scheduler is None:
            self.trainer.set_learning_rate(self.rate(when))
        if self.clip:
            self.trainer.allreduce_grads()
            self._clip(self.clip * samples)
            self.trainer.update(samples)
        else:
            self.trainer.step(samples)
        self.count += 1

    def _clip(self, longest: float) -> None:
        """Scale the gradients of a device to a norm of at most `longest`, without reading it."""
        for device in range(len(self.parameters[0].list_grad())):
            grads = [p.list_grad()[device] for p in self.parameters]
            norm = nd.multi_sum_sq(*grads, num_arrays=len(grads)).sum().sqrt()
            scale = nd.minimum(longest / (norm + 1e-12), 1.0)
            for grad in grads:
                grad *= scale.reshape((1,) * grad.ndim).astype(grad.dtype)

    def detach_trainer(self) -> None:
        """Training is over: weights can be set that a server does not know."""
        for parameter in self.parameters:
            parameter._set_trainer(None)

    def traffic(self, compressed: bool) -> float:
        """Bytes that a worker sends and gets each step; docs/scaling.md has the formulas."""
        gradients = 4 * sum(int(np.prod(p.shape)) for p in self.parameters)
        if self.ring:  # out and back
            return 2 * gradients * 2 * (self.workers - 1) / self.workers
        return gradients * (1 / 16 if compressed else 1) + gradients  # 2 of 32 bits; weights back

    def state(self) -> Dict[str, nd.NDArray]:
        """Momenta and the like by the index of the parameter, of the first device."""
        found = {}
        for index, state in self.trainer._updaters[0].states.items():
            found.update({f"{index}.{slot}": a for slot, a in enumerate(_arrays(state))})
        return found

    def restore(self, state: Dict[str, Any], steps: int) -> None:
        """Continue after `steps` steps with what `state()` gave."""
        optimizer = self.trainer.optimizer
        if self.on_server:  # momenta are lost with the server
            self.count, optimizer.begin_num_update = steps, steps * self.workers
            optimizer.num_update = optimizer.begin_num_update
            return
        for device, updater in enumerate(self.trainer._updaters):
            for index, parameter in enumerate(self.parameters):
                fresh = optimizer.create_state_multi_precision(index, parameter.list_data()[device])
                for slot, array in enumerate(_arrays(fresh)):
                    array[:] = state[f"{index}.{slot}"]
                updater.states[index], updater.states_synced[index] = fresh, True
            optimizer._all_index_update_counts[device] = dict.fromkeys(
                range(len(self.parameters)), steps
            )
        optimizer._index_update_count = optimizer._all_index_update_counts[0]
        optimizer.num_update = self.count = steps


def _arrays(state: Any) -> List[nd.NDArray]:
    if state is None:
        return []
    if isinstance(state, nd.NDArray):
        return [state]
    return [array for part in state for array in _arrays(part)]


def make_optimizers(
    groups: Sequence[Group], config: Any, schedule: Schedule, kvstore: Any
) -> Dict[str, GroupOptimizer]:
    """An optimizer for each group; in a shared store their keys follow each other."""
    optimizers: Dict[str, GroupOptimizer] = {}
    if len(groups) > 1 and config.kvstore == "dist_async":
        raise UserError(
            "--kvstore dist_async has one optimizer and this network takes "
            f"{len(groups)}; --kvstore dist_sync can hold them"
        )
    for group in groups:
        first = sum(len(optimizer.parameters) for optimizer in optimizers.values())
        optimizers[group.name] = GroupOptimizer(group, config, schedule, kvstore, first)
    return optimizers


def even_out(net: gluon.Block) -> None:
    """Give all devices the means of what BatchNorm gathered on each, and wait for it."""
    mx.nd.waitall()  # MXNet does not see that backward writes it
    for parameter in net.collect_params().values():
        if _differs(parameter):
            mean = _of_all_devices(parameter)
            for array in parameter.list_data():
                mean.copyto(array)


def _differs(parameter: gluon.Parameter) -> bool:
    """Whether devices have it each for itself: gradients are summed, statistics are not."""
    statistics = parameter.name.endswith(("running_mean", "running_var"))
    return statistics and len(parameter.list_ctx()) > 1


def _of_all_devices(parameter: gluon.Parameter) -> nd.NDArray:
    first, *others = parameter.list_data()
    if not _differs(parameter):
        return first
    return nd.add_n(first, *(a.as_in_context(first.context) for a in others)) / (1 + len(others))


class WeightAverage:
    """An exponential moving average of every parameter, statistics of BatchNorm included."""

    def __init__(self, net: gluon.Block, decay: Optional[float]) -> None:
        self.decay, self.parameters = decay or 0.0, named_parameters([net])
        self.statistics = any(p.grad_req == "null" for p in self.parameters.values())
        averaged = self.parameters if decay else {}
        self.values = {name: _of_all_devices(p).copy() for name, p in averaged.items()}

    def update(self, count: int) -> None:
        """Take in the weights after step number `count`; early steps are forgotten faster."""
        keep = min(self.decay, (1 + count) / (10 + count))
        if self.values and self.statistics:
            mx.nd.waitall()  # MXNet does not see that backward writes the statistics of BatchNorm
        for name, value in self.values.items():
            value *= keep
            value += (1 - keep) * _of_all_devices(self.parameters[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights inside the block."""
        kept = {name: self.parameters[name].list_data()[0].copy() for name in self.values}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, values: Dict[str, nd.NDArray]) -> None:
        for name, value in values.items():  # set_data would fail where a server updates
            for array in self.parameters[name].list_data():
                value.copyto(array)
