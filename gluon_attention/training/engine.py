"""The training loop: it applies the updates of a task on any devices, and can resume."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from ..datasets.sampling import Batches, Samples, Splits, smaller_validation
from ..errors import UserError
from ..storage.atomic import locked_folder
from ..storage.params import write_parameters
from ..tasks.task import Losses, Task, Update
from . import checkpoint
from .accelerate import accelerate, prediction
from .averages import average_statistics, make_average
from .checkpoint import Progress
from .config import BEST, Config
from .data_record import check_data, differences, record_data, version_notes, versions
from .devices import check_precision, choose_devices, prepare
from .evaluation import Means, Shards, Sums, evaluate, measure, split, split_parts
from .loss_scale import LossScale
from .monitor import Monitor
from .optimizers import make_optimizers, trainable_numbers
from .run_folder import RunFolder, total_seconds
from .schedule import Schedule, schedule_warnings
from .signals import Stopped, StopRequest
from .workers import AllWorkers, Workers, connect

TRAINING_SAMPLE = 500  # largest number of training images whose accuracy an epoch measures
MakeNetwork = Callable[[int], gluon.HybridBlock]  # from the number of classes


def train(
    config: Config, name: str, network: MakeNetwork, data: Callable[[], Splits]
) -> Dict[str, Any]:
    """Train, validate after every epoch, test once; return the content of `result.json`.

    Args:
        config: the settings.
        name: name of the run folder, unless the settings have one.
        network: builds the network for a number of classes.
        data: loads the data set.
    """
    devices = choose_devices(config.num_gpus)
    if config.sync_bn and config.dtype != "float32":
        raise UserError("--sync-bn works in float32 only: leave out --dtype")
    check_precision(config.dtype, devices)
    workers = connect(config, devices)
    path = os.path.join(config.log_dir, config.name or name)
    folder = RunFolder(path, writes=workers.rank == 0 and not config.evaluate)
    try:  # the folder is locked before its checkpoint is read
        with locked_folder(path) if folder.writes else nullcontext():
            run = Run(config, name, network, data, workers, folder)
            with run.stoppable():
                return run.test() if config.evaluate else run.complete()
    except BaseException:
        workers.release()
        raise


class Run:
    """One training run: a network, its optimizers, its data and its progress."""

    def __init__(
        self,
        config: Config,
        name: str,
        network: MakeNetwork,
        data: Callable[[], Splits],
        workers: Workers,
        folder: RunFolder,
    ) -> None:
        """Resume from the checkpoint of the folder, or begin a new run; see `train`."""
        self.config, self.workers, self.folder = config, workers, folder
        self.progress = Progress(settings=dict(config.deciding(), run=name))
        saved = checkpoint.load(folder.path, self.progress.settings)
        workers.check_same_epoch(saved.progress.epoch if saved else 0)
        if config.evaluate and not saved:
            raise UserError(
                f"{folder.path} holds no run to evaluate: train first, without --evaluate"
            )
        self.splits = splits = data()
        mx.random.seed(config.seed)
        np.random.seed(config.seed)
        self.net = net = network(len(splits.classes))
        choice = accelerate(net, config, workers.devices)
        prepare(net, splits.examples.first(1), workers.devices, config.sync_bn)
        self.task: Task = net.objective(config)
        if getattr(config, "mix_up", False) and not self.task.mixes:
            raise UserError("this network is not trained with --mix-up: leave it out")
        self._make_batches()
        self.steps = len(self.train_batches)  # of an epoch
        schedule = Schedule(config, self.steps)
        self.optimizers = make_optimizers(self.task.groups(), config, schedule, workers)
        self.average = make_average(net, config)
        self.all_workers = AllWorkers(workers) if config.skip_nonfinite else None
        self.loss_scale = LossScale() if config.dtype == "float16" else None
        self.skipped = 0  # steps of this epoch, by --skip-nonfinite or an overflow of float16
        self.monitor = Monitor(folder, config, self.steps)
        self.stop = StopRequest()
        self.devices = len(workers.devices) * workers.count
        self.notes = [choice] if choice else []  # printed at the start
        if saved:
            if not config.evaluate:
                self._check_data(saved.progress)
            checkpoint.restore(saved, net, self.optimizers, self.average)
            self.progress = saved.progress
            if self.loss_scale:
                self.loss_scale = LossScale(*saved.progress.loss_scale)

    def _make_batches(self) -> None:
        """Batches of all devices of this worker."""
        config, splits, workers = self.config, self.splits, self.workers
        batch_size, part = config.batch_size * len(workers.devices), (workers.rank, workers.count)
        self.train_batches = Batches(
            splits.train, batch_size, shuffle=True, seed=config.seed, part=part
        )
        self.validation_batches = Batches(splits.validation, batch_size)
        self.test_batches = Batches(splits.test, batch_size)
        self.sample_batches = Batches(training_sample(splits), batch_size)

    def _check_data(self, saved: Progress) -> None:
        """Refuse a checkpoint of other data, unless --accept-data is set."""
        record = record_data(self.splits, self.steps)
        lines = differences(saved.data, record, same_devices=saved.devices == self.devices)
        self.notes += check_data(self.folder.path, lines, self.config.accept_data)
        self.notes += version_notes(saved.versions, versions())

    def complete(self) -> Dict[str, Any]:
        """Train the remaining epochs, then test; a run that is complete returns its result."""
        epochs, history = self.config.epochs, self.progress.history
        if self.folder.writes:
            result = self.folder.read_result(history) if self.progress.epoch >= epochs else None
            if result:
                print(f"{self.folder.path} is done; --evaluate tests its best epoch again")
                return result
            self._begin()
        if self.progress.epoch:  # a killed process may not have saved them
            self._keep_weights()
        for epoch in range(self.progress.epoch, epochs):
            self.epoch(epoch)
        return self.test()

    def _begin(self) -> None:
        """Write the configuration of this process, and print notes on it."""
        description = checkpoint.describe_run(self.net, self.splits)
        self.folder.write_config(self.config, description)
        self.monitor.open()
        notes = smaller_validation(self.splits, self.config.validation)
        notes += self.progress.resume_notes(self.config.epochs, self.devices) + self.notes
        for note in notes + schedule_warnings(self.config):
            print(note, flush=True)
        self.progress = self.progress._replace(
            devices=self.devices, data=record_data(self.splits, self.steps), versions=versions()
        )

    def epoch(self, epoch: int) -> None:
        """Train and validate an epoch, and write its checkpoint."""
        self._seed(epoch)
        self.monitor.begin_epoch(epoch)
        losses, seconds = self.train_epoch(epoch)
        devices = self.workers.devices
        self.average.end_epoch(epoch)
        with self.average.applied():
            self.average.recompute_statistics(self.train_batches, epoch, devices, self._check_stop)
            with self._prediction():
                scores = evaluate(self.task, self.validation_batches, devices, self._check_stop)
                if self.folder.writes:
                    losses["accuracy"] = self.training_accuracy()
            self.progress = self._after(epoch, seconds, losses, scores)
            self.monitor.pictures(self.net, self.splits, epoch + 1)
            self.monitor.histograms(self.net, epoch + 1)
        if self.folder.writes:
            path = self.folder.path
            checkpoint.save(path, self.net, self.optimizers, self.average, self.progress)
        self._keep_weights()
        self.monitor.end_epoch(self.progress.history, scores)

    def _prediction(self) -> ContextManager[None]:
        """Inside, the library that trains also predicts, with the weights of now."""
        is_native = any(part.native for part in self.net.native_parts)
        return prediction(self.net, "auto" if is_native else "0", self.workers.devices)

    def _seed(self, epoch: int) -> None:
        """Seed an epoch, so that a resumed run draws the same numbers as an uninterrupted one."""
        rank = self.workers.rank
        stream = [self.config.seed, epoch] + [rank] * (rank > 0)
        seed = int(np.random.RandomState(stream).randint(2**31))
        mx.random.seed(seed)
        np.random.seed(seed)

    def train_epoch(self, epoch: int) -> Tuple[Means, float]:
        """Train on every batch once; return mean losses and seconds."""
        updates, recent, total = self.task.updates(epoch), Sums(), Sums()
        names = [name for update in updates for name in update.groups]
        first, last = epoch * self.steps, (epoch + 1) * self.steps - 1
        start = time.time()
        for step, (images, labels) in enumerate(self.train_batches.epoch(epoch), first):
            self._check_stop()
            shards = split(images, labels, self.workers.devices)
            for update in updates:
                recent.add(self.apply(update, shards, step))
            self.average.update(step)
            self.monitor.step()
            if (step + 1) % self.config.log_interval == 0 or step == last:
                if step == last:
                    average_statistics(self.net)
                rates = {name: self.optimizers[name].learning_rate(step) for name in names}
                self._check_finite({**recent.means(), **self._sum_of_weights()}, step, rates)
                self.monitor.log(step, recent.means(), rates)
                total.merge(recent)
                recent = Sums()
        means = total.means() or {"every loss": math.nan}  # if all steps were skipped
        self._check_finite(means, last, rates)
        return means, time.time() - start

    def training_accuracy(self) -> float:
        """The accuracy on a sample of the training images, to compare with validation."""
        scores = evaluate(self.task, self.sample_batches, self.workers.devices, self._check_stop)
        return next(iter(scores.values()))

    def apply(self, update: Update, shards: Shards, step: int) -> List[Losses]:
        """Apply an update of a task to a batch; return its losses, or [] if the step is skipped."""
        optimizers, losses = [self.optimizers[name] for name in update.groups], []
        for optimizer in optimizers:
            optimizer.zero_gradients()
        for part in split_parts(shards, self.config.accumulate):
            with autograd.record():
                part_losses = [update.loss(images, labels) for images, labels in part]
                totals = [sum(vector.sum() for vector in named.values()) for named in part_losses]
            # Checked before backward, which updates the BatchNorm statistics.
            if self.all_workers:
                numbers = [*totals, *(images.sum() for images, _ in part)]
                if not self.all_workers(all(math.isfinite(n.asscalar()) for n in numbers)):
                    self.skipped += 1
                    return []
            autograd.backward(totals, self.loss_scale and self.loss_scale.factors(totals))
            losses += part_losses
        for optimizer in optimizers:
            optimizer.reduce()
        divisor = sum(len(images) for images, _ in shards) * self.workers.count
        if self.loss_scale:
            divisor *= self.loss_scale.value
            if not self.loss_scale.fits([g for o in optimizers for g in o.gradients()]):
                self.skipped += 1
                return []
        for optimizer in optimizers:
            optimizer.step(step, divisor)
        return losses

    def _after(self, epoch: int, seconds: float, losses: Means, scores: Means) -> Progress:
        """The progress after an epoch, with its record in the history."""
        images = self.steps * self.train_batches.batch_size * self.workers.count
        record = {"epoch": epoch + 1, "seconds": seconds, "images_per_second": images / seconds}
        if self.workers.count > 1:
            names = [name for update in self.task.updates(epoch) for name in update.groups]
            compressed = self.config.compression is not None
            traffic = [self.optimizers[name].bytes_per_step(compressed) for name in names]
            record["bytes_per_step"] = sum(traffic)
        if self.config.skip_nonfinite or self.loss_scale:
            record["skipped_steps"], self.skipped = self.skipped, 0
        if self.loss_scale:
            record["loss_scale"] = self.loss_scale.value
        record.update({f"train/{name}": value for name, value in losses.items()})
        record.update({f"validation/{name}": value for name, value in scores.items()})
        before = self.progress
        score = next(iter(scores.values()), before.best)  # none without validation images
        is_best = score > before.best or self.config.keep == "last" or not scores
        return before._replace(
            epoch=epoch + 1,
            counts={name: optimizer.count for name, optimizer in self.optimizers.items()},
            loss_scale=self.loss_scale.state() if self.loss_scale else [],
            best=score if is_best else before.best,
            best_epoch=epoch + 1 if is_best else before.best_epoch,
            history=[*before.history, record],
        )

    def _keep_weights(self) -> None:
        """Save the weights of the last epoch if it is the best one, or due by --save-period."""
        period, epoch = self.config.save_period, self.progress.epoch
        names = [BEST] if self.progress.best_epoch == epoch else []
        if period and epoch % period == 0:
            names.append(f"epoch-{epoch:04d}.params")
        if names and self.folder.writes:
            with self.average.applied():
                for name in names:
                    write_parameters(self.folder.file(name), self.net.save_parameters)

    def test(self) -> Dict[str, Any]:
        """Test once, with the weights of the best epoch; empty on workers other than the first."""
        if self.workers.rank:
            return {}
        devices, history = self.workers.devices, self.progress.history
        for optimizer in self.optimizers.values():
            optimizer.detach_trainer()
        checkpoint.load_weights(self.folder.file(BEST), self.net, devices)
        seed, predicted = self.config.seed, []
        with self._prediction():
            scores = measure(
                self.net, self.task, self.test_batches, devices, seed, self._check_stop, predicted
            )
        speed = np.median([record["images_per_second"] for record in history])
        result = dict(
            scores,
            best_epoch=self.progress.best_epoch,
            images_per_second=float(speed),
            seconds=total_seconds(history),
            parameters=trainable_numbers(self.net),
        )
        self.monitor.finish(self.net, self.splits, result, history, predicted)
        return result

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Inside the block, a signal ends the run between two steps and prints how to resume."""
        try:
            with self.stop:
                yield
        except KeyboardInterrupt as stop:
            if str(stop):
                raise
            raise Stopped(signal.SIGINT, f"interrupted; {self.resume_advice()}") from None
        finally:
            self.monitor.close()

    def _check_stop(self) -> None:
        self.stop.check(self.resume_advice())

    def resume_advice(self) -> str:
        """What the same command does if the run ends here."""
        epoch = self.progress.epoch
        effect = f"resumes after epoch {epoch}" if epoch else "starts anew, as no epoch is complete"
        return f"the same command {effect}"

    def _sum_of_weights(self) -> Means:
        """NaN if any weight is NaN; the loss may hide it, as relu(NaN) is 0."""
        weights = [p.list_data()[0] for p in self.net.collect_params().values()]
        total = sum(w.astype("float32").sum() for w in weights).asscalar()
        return {"the sum of all weights": total}

    def _check_finite(self, means: Means, step: int, rates: Means) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                last = self.folder.file(checkpoint.LAST)
                saved = f"the last good epoch is in {last}"
                rate = max(rates.values())
                raise UserError(
                    f"{name} is {value} by step {step + 1} at learning rate {rate:.3g}; "
                    f"{saved if self.progress.epoch else 'no epoch is complete'}; "
                    "try a lower --lr, more --warmup-epochs or --clip 5"
                )


def training_sample(splits: Splits) -> Samples:
    """Evenly spaced training images, at most as many as validation images, for their accuracy."""
    train, count = splits.train, min(len(splits.train), len(splits.examples), TRAINING_SAMPLE)
    subset = np.linspace(0, len(train) - 1, count).round().astype(int)
    return Samples(
        train.labels[subset], train.classes, lambda rows, rng: train.load(subset[rows], rng)
    )
