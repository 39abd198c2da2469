"""Averages of weights for evaluation, and their BatchNorm statistics."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain, count, islice
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import mxnet as mx
from mxnet import autograd, gluon, nd

from ..datasets.sampling import Batches
from .config import Config
from .evaluation import split
from .optimizers import named_parameters
from .schedule import averaged_epochs

STATISTICS = ("running_mean", "running_var")  # last words of parameter names
FADING, COUNTED = 50, 50  # batches before the average of the statistics, and in it


def average_statistics(net: gluon.Block) -> None:
    """Set the BatchNorm statistics of all devices to their mean, and wait for it."""
    nd.waitall()  # the engine does not know that backward writes the statistics
    for parameter in net.collect_params().values():
        if _is_per_device(parameter):
            mean = _mean_over_devices(parameter)
            for array in parameter.list_data():
                mean.copyto(array)


def _is_per_device(parameter: gluon.Parameter) -> bool:
    """Whether devices have different values, as BatchNorm statistics are not summed."""
    return parameter.name.endswith(STATISTICS) and len(parameter.list_ctx()) > 1


def _mean_over_devices(parameter: gluon.Parameter) -> nd.NDArray:
    first, *others = parameter.list_data()
    if not _is_per_device(parameter):
        return first
    return nd.add_n(first, *(a.as_in_context(first.context) for a in others)) / (1 + len(others))


class WeightAverage:
    """An average of every parameter, BatchNorm statistics included.

    It is either exponential, over the steps, or the mean over the ends of the last epochs (SWA,
    Izmailov et al. 2018). Without `decay` and `first` nothing is averaged.
    """

    def __init__(
        self, net: gluon.Block, decay: Optional[float] = None, first: Optional[int] = None
    ) -> None:
        """`decay` is that of a step; `first` is the first epoch in the mean, counted from 0."""
        self.net, self.decay, self.first = net, decay, first
        self.parameters = named_parameters([net])
        self.has_statistics = any(p.grad_req == "null" for p in self.parameters.values())
        self.values = self._current() if decay else {}

    def update(self, step: int) -> None:
        """Add the weights after a step of the run; the decay is smaller in early steps."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        if self.has_statistics:
            nd.waitall()  # the engine does not know that backward writes the statistics
        for name, value in self.values.items():
            value *= decay
            value += (1 - decay) * _mean_over_devices(self.parameters[name])

    def end_epoch(self, epoch: int) -> None:
        """Add the weights after an epoch."""
        before = -1 if self.first is None else epoch - self.first  # epochs in the mean so far
        if before == 0:
            self.values = self._current()
        elif before > 0:
            for name, value in self.values.items():
                value += (_mean_over_devices(self.parameters[name]) - value) / (before + 1)

    def restore(self, values: Dict[str, Any], epochs: int) -> None:
        """Continue with the saved `values` of a run after so many epochs."""
        if self.first is not None and epochs > self.first:
            self.values = self._current()
        for name, value in self.values.items():
            value[:] = nd.array(values[name])

    def recompute_statistics(
        self, batches: Batches, epoch: int, devices: Sequence[mx.Context], check: Callable[[], None]
    ) -> None:
        """Inside `applied`, compute the BatchNorm statistics of a mean over epochs."""
        if self.first is None or not self.values:
            return
        recompute_statistics(self.net, batches, epoch, devices, check)
        for name, parameter in self.parameters.items():
            if parameter.name.endswith(STATISTICS):
                self.values[name] = parameter.list_data()[0].copy()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the averaged weights inside the block."""
        current = {name: self.parameters[name].list_data()[0].copy() for name in self.values}
        self._set(self.values)
        try:
            yield
        finally:
            self._set(current)

    def _current(self) -> Dict[str, nd.NDArray]:
        return {name: _mean_over_devices(p).copy() for name, p in self.parameters.items()}

    def _set(self, values: Dict[str, nd.NDArray]) -> None:
        for name, value in values.items():
            _set_on_devices(self.parameters[name], value)


def make_average(net: gluon.Block, config: Config) -> WeightAverage:
    """The average of weights of the settings."""
    if not config.swa:
        return WeightAverage(net, config.ema)
    return WeightAverage(net, first=config.epochs - averaged_epochs(config))


def recompute_statistics(
    net: gluon.Block,
    batches: Batches,
    epoch: int,
    devices: Sequence[mx.Context],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Compute the BatchNorm statistics of a network's current weights on batches of an epoch.

    MXNet updates running statistics in backward passes. The old ones fade over the first batches;
    the new ones are the mean of the running statistics after each later batch. Weights do not
    change, gradients do.
    """
    parameters = [p for p in net.collect_params().values() if p.name.endswith(STATISTICS)]
    if not parameters:
        return
    sums: List[Any] = [0.0] * len(parameters)
    endless = chain.from_iterable(batches.epoch(number) for number in count(epoch))
    for number, (images, labels) in enumerate(islice(endless, FADING + COUNTED)):
        check()
        with autograd.record():
            logits = [net(part) for part, _ in split(images, labels, devices)]
        autograd.backward(logits)
        nd.waitall()  # the engine does not know that backward writes the statistics
        if number >= FADING:
            sums = [total + _mean_over_devices(p) for total, p in zip(sums, parameters)]
    for parameter, total in zip(parameters, sums):
        _set_on_devices(parameter, total / COUNTED)


def _set_on_devices(parameter: gluon.Parameter, value: nd.NDArray) -> None:
    for array in parameter.list_data():  # set_data fails where a server holds the weights
        value.copyto(array)
