"""One optimizer per group of parameters."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np
from mxnet import gluon, nd

from ..errors import UserError
from ..tasks.task import Group
from .config import Config
from .schedule import Schedule
from .workers import Workers

_NO_WEIGHT_DECAY = ("gamma", "beta", "bias")  # last words of parameter names


def trainable_numbers(net: gluon.Block) -> int:
    """The number of trained weights."""
    return sum(int(np.prod(p.shape)) for p in net.collect_params().values() if p.grad_req != "null")


def named_parameters(blocks: Sequence[gluon.Block]) -> Dict[str, gluon.Parameter]:
    """Parameters by their path in the blocks, which is the same in every process."""
    named = {}
    for number, block in enumerate(blocks):
        for name, parameter in block._collect_params_with_prefix().items():
            named[f"{number}.{name}" if len(blocks) > 1 else name] = parameter
    return named


class GroupOptimizer:
    """One optimizer over the parameters of one group."""

    def __init__(
        self,
        group: Group,
        config: Config,
        schedule: Schedule,
        workers: Workers,
        first_key: int = 0,
    ) -> None:
        """`first_key` is the number of parameters of earlier groups in the same store."""
        self.group, self.schedule, self.workers = group, schedule, workers
        self.clip, self.accumulates = config.clip, config.accumulate > 1
        self.count = 0  # steps so far
        self.parameters = [
            p for p in named_parameters(group.blocks).values() if p.grad_req != "null"
        ]
        for parameter in self.parameters:
            if parameter.name.endswith(_NO_WEIGHT_DECAY):
                parameter.wd_mult = 0.0
            if self.accumulates:
                parameter.grad_req = "add"
        options = dict(learning_rate=config.lr * group.lr_scale, wd=config.weight_decay)
        if config.optimizer in ("sgd", "nag"):
            options["momentum"] = config.momentum
        if workers.server_updates:
            if self.clip:
                raise UserError("--clip needs summed gradients, which --kvstore dist_async lacks")
            # The server applies weight decay with the gradient of each worker.
            options["wd"] /= workers.count
            options["lr_scheduler"] = schedule.for_server(workers.count, group.lr_scale)
        self.trainer = gluon.Trainer(
            self.parameters,
            config.optimizer,
            options,
            kvstore=workers.trainer_store(first_key),
            update_on_kvstore=workers.server_updates,
        )
        if workers.server_updates:  # it unpickles the optimizer without the parameters
            undecayed = [i for i, p in enumerate(self.parameters) if p.wd_mult == 0]
            self.trainer.optimizer.wd_mult = dict.fromkeys(undecayed, 0.0)

    def zero_gradients(self) -> None:
        """Clear the accumulated gradients of the last batch."""
        if self.accumulates:
            for parameter in self.parameters:
                parameter.zero_grad()

    def learning_rate(self, step: int) -> float:
        return self.schedule(step) * self.group.lr_scale

    def reduce(self) -> None:
        """Sum the gradients over devices and workers; with dist_async, `step` does it."""
        if not self.workers.server_updates:
            self.trainer.allreduce_grads()

    def gradients(self) -> List[nd.NDArray]:
        """The gradients of the first device."""
        return [parameter.list_grad()[0] for parameter in self.parameters]

    def step(self, step: int, samples: float) -> None:
        """Update the parameters with the reduced gradients.

        Args:
            step: number of the step in the run, for the learning rate.
            samples: divisor of the gradients.
        """
        if self.workers.server_updates:
            self.trainer.step(samples)
        else:
            self.trainer.set_learning_rate(self.learning_rate(step))
            if self.clip:
                self._clip_gradients(self.clip * samples)
            self.trainer.update(samples)
        self.count += 1

    def _clip_gradients(self, largest: float) -> None:
        """Scale down gradients above a norm, on each device, without waiting for the norm."""
        for device in range(len(self.parameters[0].list_grad())):
            grads = [p.list_grad()[device] for p in self.parameters]
            norm = nd.multi_sum_sq(*grads, num_arrays=len(grads)).sum().sqrt()
            scale = nd.minimum(largest / (norm + 1e-12), 1.0)
            for grad in grads:
                grad *= scale.reshape((1,) * grad.ndim).astype(grad.dtype)

    def detach_trainer(self) -> None:
        """Let `set_data` change weights without asking the parameter server."""
        for parameter in self.parameters:
            parameter._set_trainer(None)

    def bytes_per_step(self, compressed: bool) -> float:
        """Bytes that a worker sends and receives in a step."""
        numbers = sum(int(np.prod(p.shape)) for p in self.parameters)
        return self.workers.bytes_per_step(numbers, compressed)

    def state(self) -> Dict[str, nd.NDArray]:
        """Optimizer states of the first device, such as momenta, by "{parameter index}.{slot}"."""
        arrays = {}
        for index, state in self.trainer._updaters[0].states.items():
            arrays.update({f"{index}.{slot}": a for slot, a in enumerate(_flat(state))})
        return arrays

    def restore(self, state: Dict[str, Any], steps: int) -> None:
        """Continue after `steps` steps with a state that `state()` returned."""
        optimizer = self.trainer.optimizer
        if self.workers.server_updates:  # its states, such as momenta, are lost
            self.count, optimizer.begin_num_update = steps, steps * self.workers.count
            optimizer.num_update = optimizer.begin_num_update
            return
        for device, updater in enumerate(self.trainer._updaters):
            for index, parameter in enumerate(self.parameters):
                fresh = optimizer.create_state_multi_precision(index, parameter.list_data()[device])
                for slot, array in enumerate(_flat(fresh)):
                    array[:] = state[f"{index}.{slot}"]
                updater.states[index], updater.states_synced[index] = fresh, True
            optimizer._all_index_update_counts[device] = dict.fromkeys(
                range(len(self.parameters)), steps
            )
        optimizer.num_update = self.count = steps


def _flat(state: Any) -> List[nd.NDArray]:
    """The arrays of an optimizer's state, which may be None, an array or nested tuples."""
    if state is None:
        return []
    if isinstance(state, nd.NDArray):
        return [state]
    return [array for part in state for array in _flat(part)]


def make_optimizers(
    groups: Sequence[Group], config: Config, schedule: Schedule, workers: Workers
) -> Dict[str, GroupOptimizer]:
    """An optimizer for each group, with consecutive keys in a shared store."""
    optimizers: Dict[str, GroupOptimizer] = {}
    if len(groups) > 1 and workers.server_updates:
        raise UserError(
            "--kvstore dist_async has one optimizer and this network needs "
            f"{len(groups)}; use --kvstore dist_sync"
        )
    for group in groups:
        first_key = sum(len(optimizer.parameters) for optimizer in optimizers.values())
        optimizers[group.name] = GroupOptimizer(group, config, schedule, workers, first_key)
    return optimizers
