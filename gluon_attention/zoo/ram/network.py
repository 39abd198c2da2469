"""Recurrent Models of Visual Attention (RAM).

Volodymyr Mnih, Nicolas Heess, Alex Graves, Koray Kavukcuoglu. NIPS 2014,
https://arxiv.org/abs/1406.6247

The network reads an image through a few small glimpses in sequence. It learns the location of the
next glimpse from one signal: whether its final prediction is right.

Where this differs from the paper, and why:
  * The mean of a location comes from a hidden layer behind the core, as in public implementations.
  * Patches are sampled bilinearly, so a location need not fall on a pixel. `retina="pixels"` cuts
    whole pixels as public PyTorch implementations do, for weights that were trained with it.
  * The REINFORCE term leaves out the first location, which no policy chose, and there is none for a
    location after the last glimpse.
  * The reward of a glimpse is what it adds to the log-probability of the label (`task.Reinforce`).
"""

from __future__ import annotations

from functools import partial
from math import gcd
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Tuple

from mxnet import gluon, init, nd

from ...explain.looks import glimpse_look
from ...ops.crop import glimpse, glimpse_matrices, pyramid_means, snap_to_pixels
from ...ops.safe import concat, detach
from ...tasks.task import options_from
from ..attention_net import AttentionNet
from ..classifier import Classifier
from ..portable_block import PortableBlock
from ..recurrent_core import RecurrentCore, zeros_like_batch
from .options import RamOptions, ReinforceOptions
from .task import Reinforce

if TYPE_CHECKING:
    from ...training.config import Config


PATCH_WEIGHT = "body.glimpse.what.weight"  # a column for each pixel of a glimpse


class Trace(NamedTuple):
    """An episode of T glimpses of K patches."""

    logits: nd.NDArray  # (N, classes), after the last glimpse
    locations: nd.NDArray  # (N, T, 2), of the glimpses: x before y, in [-1, 1]
    means: nd.NDArray  # (N, T, 2), of the distributions they were drawn from
    baselines: nd.NDArray  # (N, T), the reward expected before each location was drawn
    step_logits: nd.NDArray  # (N, T + 1, classes), before each glimpse, and after the last
    windows: nd.NDArray  # (N, T, K, C, patch, patch), patches of each glimpse, the finest first


class GlimpseNetwork(gluon.HybridBlock):
    """Patches of a glimpse and their location (what and where) as one vector."""

    def __init__(self, what: int, where: int, width: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk = gcd(what, where)
        with self.name_scope():
            self.what = gluon.nn.Dense(what, activation="relu", in_units=in_units, prefix="what_")
            self.where = gluon.nn.Dense(where, activation="relu", in_units=2, prefix="where_")
            self.both = gluon.nn.Dense(
                width, activation="relu", in_units=what + where, prefix="both_"
            )

    def hybrid_forward(self, F: Any, patches: Any, location: Any) -> Any:
        return self.both(concat(F, self.what(patches), self.where(location), chunk=self.chunk))


class Locator(gluon.HybridBlock):
    """The mean of the next location, in [-1, 1]: (N, width) to (N, 2)."""

    def __init__(self, hidden: int, in_units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.hidden = gluon.nn.Dense(
                hidden, activation="relu", in_units=in_units, prefix="hidden_"
            )
            self.mean = gluon.nn.Dense(2, in_units=hidden, prefix="mean_")

    def hybrid_forward(self, F: Any, hidden: Any) -> Any:
        return F.tanh(self.mean(self.hidden(hidden)))


class Episode(PortableBlock):
    """All glimpses, unrolled: (images, noise) to the parts of a `Trace`."""

    def __init__(self, classes: int, options: RamOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = options
        what, where, both, hidden, locate = options.widths
        with self.name_scope():
            pixels = options.scales * options.channels * options.patch**2
            self.glimpse = GlimpseNetwork(what, where, both, in_units=pixels, prefix="glimpse_")
            self.core = RecurrentCore(options.core, hidden, in_units=both, prefix="core_")
            self.locator = Locator(locate, in_units=hidden, prefix="locator_")
            self.baseline = gluon.nn.Dense(1, in_units=hidden, flatten=False, prefix="baseline_")
            head = partial(Classifier, classes, in_units=hidden)
            self.step_head = head(flatten=False, prefix="step_head_")
            self.head = head(prefix="head_")
        for parameter in self.locator.collect_params().values():
            parameter.lr_mult = 0.3  # at 1, locations run to the border before the rest has learned
            if options.glimpses == 1:  # the only location is not chosen by the locator
                parameter.grad_req = "null"

    def hybrid_forward(self, F: Any, images: Any, noise: Any) -> Tuple[Any, ...]:
        options = self.options
        images = detach(F, images)
        pyramid = pyramid_means(F, images, options.scales)
        matrices = glimpse_matrices(F, pyramid, options.patch, options.scales)
        state = zeros_like_batch(F, images, self.core.state_width)
        location = mean = zeros_like_batch(F, images, 2)
        hiddens, means, locations, glimpses = [self.core.hidden(F, state)], [], [], []
        for step in range(options.glimpses):
            if step:
                mean = self._next_mean(hiddens[-1], location)
            step_noise = F.slice_axis(noise, axis=1, begin=step, end=step + 1)
            step_noise = F.reshape(step_noise, shape=(-1, 2))
            location = F.clip(detach(F, F.broadcast_add(mean, step_noise)), -1, 1)
            center = location
            if options.retina == "pixels":
                center = snap_to_pixels(F, images, location)
            patches = detach(F, glimpse(F, pyramid, center, matrices))
            state = self.core(self.glimpse(patches, location), state)
            hiddens.append(self.core.hidden(F, state))
            means.append(mean)
            locations.append(location)
            glimpses.append(patches)
        before = detach(F, F.stack(*hiddens[:-1], axis=1))  # (N, T, width)
        logits = self.head(hiddens[-1])
        return (
            logits,
            F.stack(*locations, axis=1),
            F.stack(*means, axis=1),
            F.squeeze(self.baseline(before), axis=2),
            F.concat(self.step_head(before), F.expand_dims(logits, axis=1), dim=1),
            F.stack(*glimpses, axis=1),
        )

    def _next_mean(self, hidden: Any, location: Any) -> Any:
        """The mean of the next location (N, 2), from the hidden state and the last location."""
        mean = self.locator(hidden)
        mean = mean + location if self.options.move == "relative" else mean
        return mean * 0 if self.options.policy == "random" else mean


class RecurrentAttention(AttentionNet):
    """RAM; `net(images)` glimpses at the means of locations, so it is deterministic."""

    Trace = Trace
    initializer = init.Xavier(magnitude=2.34)
    samples = 10
    shows = "windows"

    def __init__(self, classes: int, options: RamOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.options = classes, options
        with self.name_scope():
            self.body = Episode(classes, options)
        self.look = partial(glimpse_look, whole_pixels=options.retina == "pixels")

    @property
    def classifier(self) -> Classifier:
        return self.body.head

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, self.options.glimpses, 2)),)

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray]:
        """Noise that is added to the means of locations, (N, T, 2)."""
        options, ctx = self.options, images.context
        shape = (images.shape[0], options.glimpses, 2)
        if options.policy == "random":
            return (nd.random.uniform(-1, 1, shape=shape, ctx=ctx),)
        noise = nd.random.normal(scale=options.std, shape=shape, ctx=ctx)
        if options.start == "uniform":
            noise[:, 0] = nd.random.uniform(-1, 1, shape=(shape[0], 2), ctx=ctx)
        else:
            noise[:, 0] = 0
        return (noise,)

    def _mean_probabilities(self, images: nd.NDArray, samples: int) -> nd.NDArray:
        """The mean over all episodes, computed as one batch: the network is small."""
        repeated = nd.tile(images, (samples, 1, 1, 1))
        probabilities = nd.softmax(self.sample(repeated)[0].logits)
        return probabilities.reshape((samples, -1, self.classes)).mean(axis=0)

    def adapt_weights(self, arrays: Dict[str, nd.NDArray]) -> Dict[str, nd.NDArray]:
        """Extend weights of fewer scales: the weights of new scales are zero."""
        weight, pixels = arrays.get(PATCH_WEIGHT), self.body.glimpse.what.weight.shape[1]
        if weight is None or weight.shape[1] >= pixels:
            return arrays
        zeros = nd.zeros((len(weight), pixels - weight.shape[1]), dtype=weight.dtype)
        return {**arrays, PATCH_WEIGHT: nd.concat(weight, zeros, dim=1)}  # finer scales come first

    def objective(self, config: Config) -> Reinforce:
        options = options_from(ReinforceOptions(), config)
        return Reinforce(self, options, config.label_smoothing)
