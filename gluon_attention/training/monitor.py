"""The display of a run: progress bar, curves, pictures and TensorBoard events."""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mxnet import gluon, nd
from tqdm import tqdm

from ..datasets.sampling import Splits
from ..explain.pictures import denormalise, paint, picture
from ..explain.tiles import load_png, save_gif, save_png, sheet
from ..storage.atomic import atomic_file
from .config import Config
from .events import Events
from .optimizers import named_parameters
from .report import curves, write_report
from .run_folder import Record, RunFolder, peak_mb

ANIMATED = "boxes"  # pictures saved after every epoch, for an animation of the training
PICTURES = 4  # number of example images
COLUMNS = 2  # of tiles in TensorBoard, whose cards are narrow


class Monitor:
    """Shows a run and writes its pictures; only in the process that writes the folder."""

    def __init__(self, folder: RunFolder, config: Config, steps: int) -> None:
        """`steps` are those of an epoch."""
        self.folder, self.config, self.steps = folder, config, steps
        self.bar: Optional[tqdm] = None
        self.events: Optional[Events] = None
        self.epoch_start = 0.0

    def open(self) -> None:
        """Open the files of TensorBoard events, and write the settings to them."""
        self.events = Events(self.folder.file("events"))
        self.events.settings(vars(self.config))

    def begin_epoch(self, epoch: int) -> None:
        self.epoch_start = time.monotonic()
        if self.folder.writes:
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
        """Show the mean losses since the last call, and the learning rates of the groups."""
        if self.bar is None:
            return
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()})
        self.events.scalars("train", {f"loss/{name}": v for name, v in losses.items()}, step + 1)
        rates = {f"learning_rate/{name}": rate for name, rate in rates.items()}
        self.events.scalars("train", rates, step + 1)

    def end_epoch(self, history: Sequence[Record], scores: Record) -> None:
        """Show the last record of the history, and write the whole history."""
        if not self.folder.writes:
            return
        self.bar.close()
        record, step = history[-1], len(history) * self.steps
        figures = ", ".join(f"{name} {v:.4g}" for name, v in record.items() if name != "epoch")
        # Only this epoch is timed: earlier ones may have run on another machine.
        seconds = (self.config.epochs - record["epoch"]) * (time.monotonic() - self.epoch_start)
        left = f", {datetime.timedelta(seconds=round(seconds))} left" if seconds else ""
        print(f"epoch {record['epoch']}/{self.config.epochs}: {figures}{left}", flush=True)
        self.folder.write_history(history)
        self.events.scalars("validation", {tag_of(k): v for k, v in scores.items()}, step)
        figures = {"speed/images_per_second": record["images_per_second"]}
        figures.update({"memory/peak_mb": peak_mb(), "accuracy/accuracy": record["train/accuracy"]})
        steps = ("loss_scale", "skipped_steps")
        figures.update({f"steps/{name}": record[name] for name in steps if name in record})
        self.events.scalars("train", figures, step)
        self.events.flush()

    def pictures(
        self, net: gluon.Block, splits: Splits, epoch: int, final: bool = False
    ) -> List[str]:
        """Draw what the network attends to in the first example images; return the files.

        After an epoch the `ANIMATED` ones are also saved as frames. With cached features in place
        of images, pictures are drawn once, at the end, as images are then slow to encode.
        """
        examples, mean, std = splits.examples, splits.mean, splits.std
        if not self.folder.writes or net.look is None or (examples.images and not final):
            return []
        first = (examples.images or examples).first(PICTURES)
        rows = paint(net, denormalise(first, mean, std), mean, std)
        path = self.folder.file(f"{net.shows}.png")
        save_png(path, picture(rows))
        if net.shows == ANIMATED and not final:
            save_png(self._frame(epoch), picture(rows))
        for number, tiles in enumerate(rows, 1):
            tag = f"{net.shows}/image_{number}"
            self.events.picture(tag, sheet(tiles, COLUMNS), epoch * self.steps)
        return [path]

    def histograms(self, net: gluon.Block, epoch: int) -> None:
        """Write histograms of the kernels to TensorBoard if --histograms asks for this epoch."""
        period = self.config.histograms
        if not (self.folder.writes and period and epoch % period == 0):
            return
        for name, parameter in named_parameters([net]).items():
            if name.endswith("weight") and len(parameter.shape) > 1:
                values = parameter.list_data()[0].astype("float32").asnumpy()
                self.events.histogram(f"weights/{name}", values, epoch * self.steps)

    def finish(
        self,
        net: gluon.Block,
        splits: Splits,
        result: Dict[str, Any],
        history: Sequence[Record],
        predicted: Sequence[nd.NDArray],
    ) -> None:
        """Write result, curves, pictures of the best weights and report; print their paths.

        Args:
            predicted: predicted classes of the test images.
        """
        print(f"test error {result['test_error']:.2f} % on {result['test_images']} images")
        if not self.folder.writes:
            return
        curves_file = self.folder.file("curves.png")
        _draw_curves(curves_file, history)
        paths = self.pictures(net, splits, len(history), final=True)
        paths += self._animations(len(history))
        self.events.flush()
        report, figures = self.folder.file("report.html"), dict(result, peak_mb=peak_mb())
        write_report(report, net, splits, vars(self.config), figures, history, predicted)
        self.folder.write_result(result)
        print(f"weights   {self.folder.file('best.params')}")
        print(f"curves    {curves_file}, or tensorboard --logdir {self.folder.path}")
        if paths:
            print(f"pictures  {', '.join(paths)}")
        print(f"report    {report}")

    def _frame(self, epoch: int) -> str:
        return self.folder.file("epochs", f"{ANIMATED}-{epoch:04d}.png")

    def _animations(self, epochs: int) -> List[str]:
        """The GIF file of the `ANIMATED` pictures, one frame per epoch, if there are any."""
        paths = map(self._frame, range(1, epochs + 1))
        frames = [load_png(path) for path in paths if os.path.exists(path)]
        if not frames:
            return []
        file = self.folder.file(f"{ANIMATED}.gif")
        save_gif(file, frames, seconds=0.3)
        return [file]

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.events:
            self.events.close()


def tag_of(score: str) -> str:
    """The TensorBoard tag of a validation score; its first part groups cards."""
    group = "accuracy" if score.startswith(("accuracy", "top")) else "other"
    return f"{'loss' if score == 'cross_entropy' else group}/{score}"


def _draw_curves(path: str, history: Sequence[Record]) -> None:
    """The charts of the report as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    charts = curves(history)
    size = (5 * len(charts), 4)
    figure, axes = pyplot.subplots(1, len(charts), figsize=size, constrained_layout=True)
    for axis, chart in zip(np.ravel(axes), charts):
        for series in chart["series"]:
            epochs, values = zip(*series["points"])
            marker = "o" if len(epochs) == 1 else ""  # a single point has no line
            axis.plot(epochs, values, label=series["name"], marker=marker)
        axis.set(title=chart["title"], xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
        axis.legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    pyplot.close(figure)
