"""The only training loop: it moves what a task says, on any devices, and survives being killed."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from ..datasets.sampling import Batches, Splits, smaller_validation
from ..errors import UserError
from ..tasks.task import Losses, Task, Update
from . import checkpoint
from .checkpoint import Progress
from .config import Config
from .devices import choose_devices, lower_precision, prepare
from .evaluation import Means, Shards, Sums, accumulated, evaluate, measure, split
from .monitor import Monitor, total_seconds
from .optimizers import WeightAverage, even_out, make_optimizers, trainable_numbers
from .schedule import Schedule, unreached
from .signals import Stopped, StopRequest
from .workers import AllWorkers, check_same_epoch, connect, own_devices, release


def train(
    config: Config,
    name: str,
    network: Callable[[int], gluon.HybridBlock],
    data: Callable[[], Splits],
) -> Dict[str, Any]:
    """Train, validate every epoch, test once; give what `result.json` holds.

    Args:
        config: the settings.
        name: of the run folder, unless the settings have one.
        network: makes the network for a number of classes.
        data: loads the `Splits`.
    """
    devices = choose_devices(config.num_gpus)
    if config.dtype != "float32":
        if config.sync_bn:
            raise UserError("--sync-bn works in float32 only: leave out --dtype")
        lower_precision(config.dtype, devices)
    kvstore, rank, workers = connect(config, devices)
    devices = own_devices(kvstore, devices)
    try:
        run = _start(config, name, network, data, devices, kvstore, (rank, workers))
        try:
            with run.stop:
                return run.test() if config.evaluate else run.complete()
        except KeyboardInterrupt as stop:
            if str(stop):
                raise
            raise Stopped(signal.SIGINT, f"interrupted; {run.then()}") from None
        finally:
            run.monitor.close()
    except BaseException:
        release(kvstore)
        raise


def _start(
    config: Config,
    name: str,
    network: Callable[[int], gluon.HybridBlock],
    data: Callable[[], Splits],
    devices: Sequence[mx.Context],
    kvstore: Any,
    part: Tuple[int, int],
) -> Run:
    """A run as its checkpoint left it, or a new one."""
    folder = os.path.join(config.log_dir, config.name or name)
    settings = dict(config.deciding(), run=name)
    content = checkpoint.load(folder, settings)
    check_same_epoch(kvstore, content["progress"].epoch if content else 0)
    if config.evaluate and not content:
        raise UserError(f"{folder} holds no run to evaluate: train first, without --evaluate")
    splits = data()
    mx.random.seed(config.seed)
    np.random.seed(config.seed)
    net = network(len(splits.classes))
    if config.dtype not in net.dtypes:
        raise UserError(
            f"this network trains in {' or '.join(net.dtypes)}, not --dtype {config.dtype}"
        )
    prepare(net, splits.validation.first(1), devices, config.sync_bn)
    return Run(config, settings, net, splits, devices, kvstore, part, folder, content)


class Run:
    """Everything that one training run holds."""

    def __init__(
        self,
        config: Config,
        settings: Dict[str, Any],
        net: gluon.HybridBlock,
        splits: Splits,
        devices: Sequence[mx.Context],
        kvstore: Any,
        part: Tuple[int, int],
        folder: str,
        content: Optional[Dict[str, Any]],
    ) -> None:
        """`content` is that of a checkpoint to go on from."""
        self.config, self.net, self.splits, self.devices = config, net, splits, devices
        (self.rank, self.workers), self.folder = part, folder
        self.writes = self.rank == 0 and not config.evaluate
        self.task: Task = net.objective(config)
        if getattr(config, "mix_up", False) and not self.task.mixes:
            raise UserError("this network is not trained with --mix-up: leave it out")
        size = config.batch_size * len(devices)
        self.batches = Batches(splits.train, size, shuffle=True, seed=config.seed, part=part)
        self.validation, self.test_batches = (
            Batches(samples, size) for samples in (splits.validation, splits.test)
        )
        steps = len(self.batches)
        schedule = Schedule(
            config.lr, config.epochs, steps, config.warmup_epochs, config.lr_steps, config.lr_factor
        )
        self.finite = AllWorkers(kvstore if config.skip_nonfinite else "")
        self.optimizers = make_optimizers(self.task.groups(), config, schedule, kvstore)
        self.average = WeightAverage(net, config.ema)
        self.progress = Progress(settings=settings)
        if content:
            self.progress = checkpoint.restore(content, net, self.optimizers, self.average)
        self.monitor = Monitor(folder if self.writes else None, config, steps)
        self.stop, self.left_out = StopRequest(), 0

    def complete(self) -> Dict[str, Any]:
        """Train the epochs that are left, then test; nothing, if an earlier process did it all."""
        done, epochs = self.progress.epoch, self.config.epochs
        if self.writes:
            found = self.monitor.result(self.progress.history) if done >= epochs else None
            if found:
                print(f"{self.folder} is done; --evaluate tests its best epoch again")
                return found
            self.monitor.open(checkpoint.describe_run(self.net, self.splits))
            devices = len(self.devices) * self.workers
            notes = smaller_validation(self.splits, self.config.validation)
            for note in [*notes, *self.progress.begun(epochs, devices), *unreached(self.config)]:
                print(note, flush=True)
            self.progress = self.progress._replace(devices=devices)
        if done:  # the process before may have been killed between its two files
            self._keep_weights()
        while self.progress.epoch < epochs:
            self.epoch(self.progress.epoch)
        return self.test()

    def epoch(self, number: int) -> None:
        """Train and validate one epoch, and keep it."""
        stream = [self.config.seed, number] + [self.rank] * (self.rank > 0)
        seed = int(np.random.RandomState(stream).randint(2**31))
        mx.random.seed(seed)
        np.random.seed(seed)
        self.monitor.begin(number)
        losses, seconds = self._train(number)
        with self.average.in_place():
            scores = evaluate(self.task, self.validation, self.devices, self._check)
            self._record(number, scores, losses, seconds)
            self.monitor.pictures(self.net, self.splits, self._steps_done(), number + 1)
        if self.writes:
            checkpoint.save(self.folder, self.net, self.optimizers, self.average, self.progress)
        self._keep_weights()
        self.monitor.end(self.progress.history, scores, self._steps_done())

    def _steps_done(self) -> int:
        return self.progress.epoch * len(self.batches)

    def _train(self, number: int) -> Tuple[Means, float]:
        """Move through the training set once; mean losses and seconds."""
        updates, recent, total = self.task.updates(number), Sums(), Sums()
        first, last = number * len(self.batches), (number + 1) * len(self.batches) - 1
        started = time.time()
        for step, (images, labels) in enumerate(self.batches.epoch(number), first):
            self._check()
            shards = split(images, labels, self.devices)
            for update in updates:
                recent.add(self.move(update, shards, step))
            self.average.update(step)
            self.monitor.step()
            if (step + 1) % self.config.log_interval == 0 or step == last:
                if step == last:
                    even_out(self.net)
                rates = {
                    name: self.optimizers[name].rate(step) for u in updates for name in u.groups
                }
                self._finite({**recent.means(), **self._weights()}, step, rates)
                self.monitor.log(step, recent.means(), rates)
                total.take(recent)
                recent = Sums()
        means = total.means() or {"every loss": math.nan}  # when all steps were left out
        self._finite(means, last, rates)
        return means, time.time() - started

    def _weights(self) -> Means:
        """What shows that some weight is not a number, which a loss need not: relu(NaN) is 0."""
        weights = [p.list_data()[0] for p in self.net.collect_params().values()]
        every = sum(w.astype("float32").sum() for w in weights).asscalar()
        return {"the sum of all weights": every}

    def _check(self) -> None:
        """Stop here if a signal asked for it."""
        self.stop.check(self.then())

    def then(self) -> str:
        """What the same command would do if the run ended here."""
        epoch = self.progress.epoch
        kept = f"goes on after epoch {epoch}" if epoch else "starts again, as no epoch was done"
        return f"the same command {kept}"

    def move(self, update: Update, shards: Shards, step: int) -> List[Losses]:
        """Make one update from the shards of a batch; its losses, none if it was left out."""
        optimizers, losses = [self.optimizers[name] for name in update.groups], []
        for optimizer in optimizers:
            optimizer.begin()
        for part in accumulated(shards, self.config.accumulate):
            with autograd.record():
                found = [update.loss(images, labels) for images, labels in part]
                totals = [sum(vector.sum() for vector in named.values()) for named in found]
            # Before backward, which would take the batch into the statistics of BatchNorm.
            if self.config.skip_nonfinite:
                numbers = [*totals, *(images.sum() for images, _ in part)]
                if not self.finite(all(math.isfinite(n.asscalar()) for n in numbers)):
                    self.left_out += 1
                    return []
            autograd.backward(totals)
            losses += found
        samples = sum(len(images) for images, _ in shards) * self.workers
        for optimizer in optimizers:
            optimizer.step(step, samples)
        return losses

    def _finite(self, means: Means, step: int, rates: Means) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                last = os.path.join(self.folder, checkpoint.LAST)
                kept = (
                    f"the last good epoch is in {last}"
                    if self.progress.epoch
                    else "no epoch was done"
                )
                rate = max(rates.values())
                raise UserError(
                    f"{name} is {value} by step {step + 1} at learning rate {rate:.3g}; {kept}; "
                    "try a lower --lr, more --warmup-epochs or --clip 5"
                )

    def _record(self, number: int, scores: Means, losses: Means, seconds: float) -> None:
        """Take an epoch into the history."""
        images = len(self.batches) * self.batches.batch_size * self.workers
        record = {"epoch": number + 1, "seconds": seconds, "images_per_second": images / seconds}
        if self.workers > 1:
            compressed = self.config.compression is not None
            moved = [self.optimizers[name] for u in self.task.updates(number) for name in u.groups]
            record["bytes_per_step"] = sum(optimizer.traffic(compressed) for optimizer in moved)
        if self.config.skip_nonfinite:
            record["left_out"], self.left_out = self.left_out, 0
        record.update({f"train/{name}": value for name, value in losses.items()})
        record.update({f"validation/{name}": value for name, value in scores.items()})
        before, score = self.progress, next(iter(scores.values()))
        kept = score > before.best or self.config.keep == "last"
        self.progress = before._replace(
            epoch=number + 1,
            counts={name: optimizer.count for name, optimizer in self.optimizers.items()},
            best=score if kept else before.best,
            best_epoch=number + 1 if kept else before.best_epoch,
            history=[*before.history, record],
        )

    def _keep_weights(self) -> None:
        """Save the weights that were validated last, if they are wanted."""
        every, epoch = self.config.save_period, self.progress.epoch
        names = [checkpoint.BEST] if self.progress.best_epoch == epoch else []
        if every and epoch % every == 0:
            names.append(f"epoch-{epoch:04d}.params")
        if names and self.writes:
            with self.average.in_place():
                for name in names:
                    checkpoint.save_weights(os.path.join(self.folder, name), self.net)

    def test(self) -> Dict[str, Any]:
        """Read the test split once, with the weights of the best epoch; empty but for rank 0."""
        if self.rank:
            return {}
        best = os.path.join(self.folder, checkpoint.BEST)
        for optimizer in self.optimizers.values():
            optimizer.detach_trainer()
        checkpoint.load_weights(best, self.net, self.devices)
        seed, test = self.config.seed, self.test_batches
        found = measure(self.net, self.task, test, self.devices, seed, self._check)
        history = self.progress.history
        speed = np.median([record["images_per_second"] for record in history])
        result = dict(
            found,
            best_epoch=self.progress.best_epoch,
            images_per_second=float(speed),
            seconds=total_seconds(history),
            parameters=trainable_numbers(self.net),
        )
        self.monitor.finish(self.net, self.splits, result, history)
        return result
