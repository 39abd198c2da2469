"""What a person sees of a run: progress, `history.csv`, curves, pictures, TensorBoard events."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from tqdm import tqdm

from ..datasets.sampling import Splits
from ..errors import UserError
from ..explain.pictures import denormalise, pictures
from ..explain.tiles import load_png, save_gif, save_png
from ..storage.atomic import claim, write_text, written_aside
from .events import event_writer
from .optimizers import named_parameters

Record = Dict[str, float]
RESULT = "result.json"  # written last
MOVIES = ("boxes",)  # pictures that say most by how they change from epoch to epoch


class Monitor:
    """Writes into the folder of a run; without one (workers but the first) it does nothing."""

    def __init__(self, folder: Optional[str], config: Any, steps: int) -> None:
        self.folder, self.config, self.steps = folder, config, steps
        self.bar: Optional[tqdm] = None
        self.events = None
        self.began = 0.0  # when this epoch did; epochs before a run was stopped tell nothing of now
        self.claim = claim(folder) if folder else None

    def open(self, recipe: Dict[str, Any]) -> None:
        """The run has something to do: keep what it is, and what makes its network and inputs."""
        if self.folder:
            said = json.dumps({**_provenance(self.config), **recipe}, indent=1)
            write_text(os.path.join(self.folder, "config.json"), said)
            self.events = event_writer(self.folder)

    def begin(self, epoch: int) -> None:
        """An epoch starts."""
        self.began = time.monotonic()
        if self.folder:
            self.bar = tqdm(
                total=self.steps,
                desc=f"epoch {epoch + 1}/{self.config.epochs}",
                disable=not sys.stderr.isatty(),
                leave=False,
                unit="step",
            )

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def log(self, step: int, losses: Record, rates: Record) -> None:
        """Means of the losses since the last log point, and the learning rates of the groups."""
        if self.bar is None:
            return
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()})
        self._scalars("train", losses, step)
        self._scalars("learning_rate", rates, step)

    def end(self, history: Sequence[Record], scores: Record, step: int) -> None:
        """An epoch and its validation are done; the last record of the history is its."""
        if not self.folder:
            return
        self.bar.close()
        record = history[-1]
        shown = ", ".join(
            f"{name} {value:.4g}" for name, value in record.items() if name != "epoch"
        )
        rest = (self.config.epochs - record["epoch"]) * (time.monotonic() - self.began)
        left = f", {datetime.timedelta(seconds=round(rest))} left" if rest else ""
        print(f"epoch {record['epoch']}/{self.config.epochs}: {shown}{left}", flush=True)
        write_text(os.path.join(self.folder, "history.csv"), _table(history))
        self._scalars("validation", scores, step)
        self._scalars("speed", {"images_per_second": record["images_per_second"]}, step)
        self._flush()

    def pictures(
        self, net: Any, splits: Splits, step: int, epoch: int = 0, count: int = 4
    ) -> List[str]:
        """Draw what the network attends to on the first validation images, as PNG files and events.

        Args:
            step: of the run, for the events.
            epoch: that has just ended; its `MOVIES` are kept as frames. 0 at the end of the run.
            count: images, at most.

        Returns:
            Where the files lie.
        """
        if not self.folder:
            return []
        paths, painted = [], {}
        remembered = splits.validation.images is not None
        if not (epoch and remembered):  # then images are slow
            raw = _raw(splits, count)
            painted = pictures(net, raw, splits.mean, splits.std)
        for name, picture in painted.items():
            paths.append(os.path.join(self.folder, f"{name}.png"))
            save_png(paths[-1], picture)
            if name in MOVIES and epoch:
                save_png(self._frame(name, epoch), picture)
            self.events.add_image(name, picture.transpose(2, 0, 1), step)
        for name, parameter in named_parameters([net]).items():
            values = parameter.list_data()[0].astype("float32").asnumpy()
            self.events.add_histogram(name.replace(".", "/"), values, step, bins=64)
        return paths

    def finish(
        self, net: Any, splits: Splits, result: Dict[str, Any], history: Sequence[Record]
    ) -> None:
        """The run is done: result, curves, pictures of the best weights, and where they lie."""
        print(f"test error {result['test_error']:.2f} % on {result['test_images']} images")
        if not self.folder:
            return
        curves = os.path.join(self.folder, "curves.png")
        _draw_curves(curves, history)
        pictures = self.pictures(net, splits, len(history) * self.steps)
        pictures += self._movies(len(history))
        self._flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        result = dict(result, peak_mb=peak, command=" ".join(sys.argv))
        write_text(os.path.join(self.folder, RESULT), json.dumps(result, indent=1))
        print(f"weights   {os.path.join(self.folder, 'best.params')}")
        print(f"curves    {curves}, or tensorboard --logdir {self.folder}")
        if pictures:
            print(f"pictures  {', '.join(pictures)}")

    def result(self, history: Sequence[Record]) -> Optional[Dict[str, Any]]:
        """What an earlier process found when it finished this run, if one did."""
        try:
            with open(os.path.join(self.folder, RESULT), encoding="utf-8") as file:
                found = json.load(file)
            # Another time is of a run that was here before, whose checkpoints are gone.
            return found if found["seconds"] == total_seconds(history) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _frame(self, name: str, epoch: int) -> str:
        return os.path.join(self.folder, "epochs", f"{name}-{epoch:04d}.png")

    def _movies(self, epochs: int) -> List[str]:
        """What the network attended to after every epoch, one after the other."""
        made = []
        for name in MOVIES:
            paths = [self._frame(name, epoch) for epoch in range(1, epochs + 1)]
            frames = [load_png(path) for path in paths if os.path.exists(path)]
            if frames:
                made.append(os.path.join(self.folder, f"{name}.gif"))
                save_gif(made[-1], frames, seconds=0.3)
        return made

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.events:
            self.events.close()
        if self.claim is not None:
            os.close(self.claim)

    def _flush(self) -> None:
        self.events.flush()
        if self.events.file.failure:
            raise UserError(f"cannot write {self.events.file.name}: {self.events.file.failure}")

    def _scalars(self, room: str, values: Record, step: int) -> None:
        for name, value in values.items():
            # An array of no axes: newer numpy makes no number of mxboard's arrays of one axis.
            self.events.add_scalar(f"{room}/{name}", np.array(value), step)


def total_seconds(history: Sequence[Record]) -> float:
    """How long all epochs took to train."""
    return sum(record["seconds"] for record in history)


def _raw(splits: Splits, count: int) -> np.ndarray:
    """The first validation images as they were before normalisation, (N, H, W, C) uint8."""
    samples = splits.validation.images or splits.validation
    return denormalise(samples.first(count), splits.mean, splits.std)


def _provenance(config: Any) -> Dict[str, Any]:
    """Every setting, and what else the result depends on."""
    import mxnet

    from .. import __version__

    return dict(
        settings=vars(config),
        versions=dict(gluon_attention=__version__, mxnet=mxnet.__version__, numpy=np.__version__),
        python=sys.version.split()[0],
        commit=commit(),
        threads=os.environ.get("OMP_NUM_THREADS"),
    )


def commit() -> str:
    """The commit of the source, with a + where files differ from it; empty outside a checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--dirty=+"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()


def _table(history: Sequence[Record]) -> str:
    names = list(dict.fromkeys(name for record in history for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in record.items()} for record in history)
    return text.getvalue()


def _draw_curves(path: str, history: Sequence[Record]) -> None:
    """Training loss and validation scores over the epochs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(history) == 1 else ""  # no line leads to a single point
    for name in history[-1]:
        room, _, label = name.partition("/")
        if label:
            values = [record.get(name, float("nan")) for record in history]
            accuracy = label.startswith(("accuracy", "top"))
            label = f"{room} {label}".replace("_", " ")
            axes[int(accuracy)].plot(epochs, values, label=label, marker=marker)
    for axis, title in zip(axes, ("losses and the like", "accuracy")):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=100)
    pyplot.close(figure)
