"""A run can be killed at any moment and goes on from its last whole epoch.

A checkpoint is one `.npz` file: a zip archive, whose checksums tell a damaged file from a good one,
of plain arrays, which run no code when they are read.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon, nd
from mxnet.base import MXNetError

from ..datasets.sampling import Splits
from ..errors import UserError
from ..storage.atomic import written_aside
from ..storage.params import read_parameters, write_parameters
from .optimizers import GroupOptimizer, WeightAverage, named_parameters

LAST, PREVIOUS, BEST = "last.npz", "previous.npz", "best.params"
DAMAGED = "damaged-last.npz"


class Progress(NamedTuple):
    """How far a run has come."""

    epoch: int = 0  # epochs that are done
    counts: Any = None  # steps made by each group
    best: float = -1.0  # score of the best epoch
    best_epoch: int = -1
    history: Any = ()  # one record an epoch
    settings: Any = None  # those that the weights depend on
    devices: int = 0  # that a step has the images of; 0 if that is not known

    def begun(self, epochs: int, devices: int) -> List[str]:
        """Sentences on a run that goes on, on so many devices."""
        told = [f"going on after epoch {self.epoch} of {epochs}"] if self.epoch else []
        if self.devices not in (0, devices):
            told.append(
                f"note: a step had the images of {self.devices} devices so far, and has those of "
                f"{devices} from here on"
            )
        return told


def describe_run(net: Any, splits: Splits) -> Dict[str, Any]:
    """What makes the network and its data again: for the `config.json` of a run folder."""
    data = dict(
        source=splits.source,
        classes=[str(name) for name in splits.classes],
        mean=[float(value) for value in splits.mean],
        std=[float(value) for value in splits.std],
        view=dataclasses.asdict(splits.view) if splits.view else None,
    )
    return dict(network=getattr(net, "arguments", None), data=data)


def save(
    folder: str,
    net: gluon.Block,
    optimizers: Dict[str, GroupOptimizer],
    average: WeightAverage,
    progress: Progress,
) -> None:
    """Write `last.npz`; the one before stays as `previous.npz`."""
    arrays = {f"net/{name}": p.list_data()[0] for name, p in _changing(net).items()}
    arrays.update({f"average/{name}": value for name, value in average.values.items()})
    for group, optimizer in optimizers.items():
        arrays.update({f"{group}/{name}": value for name, value in optimizer.state().items()})
    arrays = {name: value.asnumpy() for name, value in arrays.items()}
    arrays["progress"] = np.frombuffer(json.dumps(progress._asdict()).encode(), dtype=np.uint8)
    whole = io.BytesIO()  # an archive that a full disk cuts short would fail again when it is freed
    np.savez(whole, **arrays)
    last = os.path.join(folder, LAST)
    with written_aside(last) as aside:
        with open(aside, "wb") as file:
            file.write(whole.getbuffer())
        if os.path.exists(last):  # of links, what they lead to, be it on another disk
            previous = os.path.join(folder, PREVIOUS)
            shutil.move(os.path.realpath(last), os.path.realpath(previous))


def load(folder: str, settings: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Arrays and `progress` of the newest whole checkpoint of the same settings, or None."""
    damaged = []
    for name in (LAST, PREVIOUS):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                content = {key: archive[key] for key in archive.files}
            content["progress"] = _progress(content["progress"])
        except Exception as error:  # whatever numpy makes of a foreign file
            damaged.append(f"{path} ({type(error).__name__})")
            continue
        _same(folder, content["progress"].settings, settings)
        if damaged:
            with suppress(OSError):  # the next checkpoint would put it in the place of this one
                os.replace(os.path.join(folder, LAST), os.path.join(folder, DAMAGED))
            print(f"{damaged[0]} is damaged, and is now {DAMAGED}; going on from {path}")
        return content
    if damaged:
        raise UserError(
            f"{' and '.join(damaged)}: damaged or no checkpoint; remove it or choose another --name"
        )
    return None


def _progress(written: np.ndarray) -> Progress:
    """What `save` wrote, every part of the kind it should be; an error if not."""
    progress = Progress(**json.loads(written.tobytes().decode()))
    kinds = dict(
        epoch=int, counts=dict, best=(int, float), best_epoch=int, history=list, devices=int
    )
    for name, kind in dict(kinds, settings=dict).items():
        if not isinstance(getattr(progress, name), kind):
            raise TypeError(name)
    if progress.epoch < 0:
        raise ValueError("epoch")
    return progress


def _same(folder: str, then: Dict[str, Any], now: Dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    if then.get("run", now.get("run")) != now.get("run"):
        runs = f"of {then['run']}, not of {now.get('run')}"
        raise UserError(f"{folder} holds a run {runs}: choose another --name")
    for name in sorted(then):  # what an older version did not know had no effect
        if then[name] != now.get(name):
            flag = "--" + name.replace("_", "-")
            raise UserError(
                f"{folder} holds a run with {flag} {then[name]}, not {now.get(name)}: "
                "give the same flags to go on, another --name to start anew, or none to "
                f"gluon-attention evaluate {folder}"
            )


def restore(
    content: Dict[str, Any],
    net: gluon.Block,
    optimizers: Dict[str, GroupOptimizer],
    average: WeightAverage,
) -> Progress:
    """Put what `load` gave where it belongs."""
    try:
        return _restored(content, net, optimizers, average)
    except (AssertionError, KeyError, ValueError, MXNetError):
        raise UserError(
            "the run folder holds a checkpoint of another network: choose another --name"
        ) from None


def _restored(
    content: Dict[str, Any],
    net: gluon.Block,
    optimizers: Dict[str, GroupOptimizer],
    average: WeightAverage,
) -> Progress:
    progress = content["progress"]
    for name, parameter in _changing(net).items():
        # As NDArray: oneDNN may have laid out the weights anew, which numpy cannot be copied into.
        parameter.set_data(nd.array(content[f"net/{name}"]))
    for name in average.values:
        average.values[name][:] = nd.array(content[f"average/{name}"])
    for group, optimizer in optimizers.items():
        prefix = group + "/"
        state = {k[len(prefix) :]: v for k, v in content.items() if k.startswith(prefix)}
        if state or optimizer.on_server:
            optimizer.restore(state, progress.counts[group])
    return progress


def _changing(net: gluon.Block) -> Dict[str, gluon.Parameter]:
    """Parameters that training changes: others are marked and come from where they came from."""
    named = named_parameters([net])
    return {n: p for n, p in named.items() if not getattr(p, "constant", False)}


def save_weights(path: str, net: gluon.Block) -> None:
    """A plain `.params` file, as `net.load_parameters` reads it."""
    write_parameters(path, net.save_parameters)


def load_weights(path: str, net: gluon.Block, devices: Sequence[mx.Context]) -> None:
    """Read such a file of this very network."""
    read_parameters(path)  # which MXNet would not survive if it is damaged
    try:
        net.load_parameters(path, ctx=list(devices))
    except (AssertionError, ValueError, MXNetError):
        raise UserError(
            f"{path} holds the weights of another network: remove it and train again"
        ) from None
