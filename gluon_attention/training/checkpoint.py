"""Checkpoints: a run can be killed at any moment and resumes after its last complete epoch.

A checkpoint is one `.npz` file: a zip archive, whose checksums detect damage, of plain arrays,
which cannot contain code.
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
from ..storage.atomic import atomic_file
from ..storage.params import read_parameters
from .averages import WeightAverage
from .optimizers import GroupOptimizer, named_parameters

LAST, PREVIOUS = "last.npz", "previous.npz"
DAMAGED = "damaged-last.npz"
_MIXUP = ("alpha", "mix_up_off")  # no effect without mix_up


class Progress(NamedTuple):
    """The progress of a run."""

    epoch: int = 0  # number of complete epochs
    counts: Dict[str, int] = {}  # steps of the optimizer of each group
    best: float = -1.0  # score of the best epoch
    best_epoch: int = -1
    history: List[Dict[str, float]] = []  # one record per epoch
    settings: Dict[str, Any] = {}  # that the weights depend on
    devices: int = 0  # number of all workers' devices; 0 if unknown
    data: Dict[str, Any] = {}  # `record_data` of the last epoch
    versions: Dict[str, str] = {}  # of the packages that trained it
    loss_scale: List[float] = []  # state of the `LossScale` of float16

    def resume_notes(self, epochs: int, devices: int) -> List[str]:
        """Notes on a run that resumes, on so many devices."""
        notes = [f"resuming after epoch {self.epoch} of {epochs}"] if self.epoch else []
        if self.devices not in (0, devices):
            notes.append(
                f"note: a step had images of {self.devices} devices so far, and now of {devices}"
            )
        return notes


class Checkpoint(NamedTuple):
    """The content of a checkpoint file."""

    arrays: Dict[str, np.ndarray]
    progress: Progress


def describe_run(net: gluon.Block, splits: Splits) -> Dict[str, Any]:
    """The part of `config.json` that rebuilds the network and its data."""
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
    """Write `last.npz`; the existing one becomes `previous.npz`."""
    arrays = {f"net/{name}": p.list_data()[0] for name, p in _trained(net).items()}
    arrays.update({f"average/{name}": value for name, value in average.values.items()})
    for group, optimizer in optimizers.items():
        arrays.update({f"{group}/{name}": value for name, value in optimizer.state().items()})
    arrays = {name: value.asnumpy() for name, value in arrays.items()}
    arrays["progress"] = np.frombuffer(json.dumps(progress._asdict()).encode(), dtype=np.uint8)
    archive = io.BytesIO()  # in memory: if the disk is full, ZipFile.__del__ raises a second time
    np.savez(archive, **arrays)
    last = os.path.join(folder, LAST)
    with atomic_file(last) as temporary:
        with open(temporary, "wb") as file:
            file.write(archive.getbuffer())
        if os.path.exists(last):  # symbolic links are followed, even to another disk
            previous = os.path.join(folder, PREVIOUS)
            shutil.move(os.path.realpath(last), os.path.realpath(previous))


def load(folder: str, settings: Dict[str, Any]) -> Optional[Checkpoint]:
    """The newest undamaged checkpoint of a folder, or None; one of other settings is refused."""
    damaged = []
    for name in (LAST, PREVIOUS):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                # Not written by `save`, which does not compress.
                if sum(m.file_size for m in archive.zip.infolist()) > os.path.getsize(path):
                    raise ValueError("compressed")
                arrays = {key: archive[key] for key in archive.files}
            progress = _read_progress(arrays.pop("progress"))
        except Exception as error:  # numpy raises many types for foreign files
            damaged.append(f"{path} ({type(error).__name__})")
            continue
        _check_settings(folder, progress.settings, settings)
        if damaged:
            with suppress(OSError):  # else the next `save` would move it to PREVIOUS
                os.replace(os.path.join(folder, LAST), os.path.join(folder, DAMAGED))
            print(f"{damaged[0]} is damaged and renamed to {DAMAGED}; resuming from {path}")
        return Checkpoint(arrays, progress)
    if damaged:
        raise UserError(
            f"{' and '.join(damaged)}: damaged or no checkpoint; remove it or choose another --name"
        )
    return None


def _read_progress(content: np.ndarray) -> Progress:
    """The progress that `save` wrote; an error if a field has another type."""
    progress = Progress(**json.loads(content.tobytes().decode()))
    for name, default in Progress._field_defaults.items():
        types = (int, float) if name == "best" else type(default)
        if not isinstance(getattr(progress, name), types):
            raise TypeError(name)
    if progress.epoch < 0:
        raise ValueError("epoch")
    return progress


def _check_settings(folder: str, saved: Dict[str, Any], current: Dict[str, Any]) -> None:
    """Refuse to resume with other settings.

    Settings missing from an old checkpoint did not exist then, so they cannot conflict.
    """
    current = json.loads(json.dumps(current))
    if saved.get("run", current.get("run")) != current.get("run"):
        runs = f"of {saved['run']}, not of {current.get('run')}"
        raise UserError(f"{folder} holds a run {runs}: choose another --name")
    for name in sorted(saved):
        value = current.get(name)
        unused = name in _MIXUP and not saved.get("mix_up")
        if unused or saved[name] == value:
            continue
        flag = "--" + name.replace("_", "-")
        if name not in current:
            raise UserError(
                f"{folder} holds a run of another version, with {flag} {saved[name]}, a flag that "
                "this version lacks: choose another --name to start anew, or evaluate it with "
                f"gluon-attention evaluate {folder}"
            )
        now = "which this command leaves out" if value is None else f"not {value}"
        raise UserError(
            f"{folder} holds a run with {flag} {saved[name]}, {now}: "
            "give the same flags to resume, another --name to start anew, or evaluate it with "
            f"gluon-attention evaluate {folder}"
        )


def restore(
    saved: Checkpoint,
    net: gluon.Block,
    optimizers: Dict[str, GroupOptimizer],
    average: WeightAverage,
) -> None:
    """Set weights, optimizer states and averages to those of a checkpoint."""

    def section(name: str) -> Dict[str, np.ndarray]:
        return {k[len(name) + 1 :]: v for k, v in saved.arrays.items() if k.startswith(f"{name}/")}

    try:
        weights = section("net")
        for name, parameter in _trained(net).items():
            # As NDArray: oneDNN may hold the weights in blocks, which numpy cannot be copied into.
            parameter.set_data(nd.array(weights[name]))
        average.restore(section("average"), saved.progress.epoch)
        for group, optimizer in optimizers.items():
            state = section(group)
            if state or optimizer.workers.server_updates:
                optimizer.restore(state, saved.progress.counts[group])
    except (AssertionError, KeyError, ValueError, MXNetError):
        raise UserError(
            "the run folder holds a checkpoint of another network, or of another version of this "
            "one: choose another --name"
        ) from None


def _trained(net: gluon.Block) -> Dict[str, gluon.Parameter]:
    """Parameters that training changes: all that `freeze` does not mark as constant."""
    named = named_parameters([net])
    return {n: p for n, p in named.items() if not getattr(p, "constant", False)}


def load_weights(path: str, net: gluon.Block, devices: Sequence[mx.Context]) -> None:
    """Load a `.params` file of exactly this network."""
    read_parameters(path)  # refuses a damaged file, on which MXNet would crash
    try:
        net.load_parameters(path, ctx=list(devices))
    except (AssertionError, ValueError, MXNetError):
        raise UserError(
            f"{path} holds the weights of another network: remove it and train again"
        ) from None
