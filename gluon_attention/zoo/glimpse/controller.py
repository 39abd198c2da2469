"""The recurrent part of the glimpse network: it classifies, and chooses the next location."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Tuple

from mxnet import gluon, init
from mxnet.gluon import nn

from ...ops.safe import concat, detach
from ..classifier import Classifier
from ..recurrent_core import RecurrentCore, zeros_like_batch
from .options import GlimpseOptions


class Trace(NamedTuple):
    """An episode of T glimpses of K patches, with R x R regions."""

    logits: Any  # (N, classes), after the last glimpse
    step_logits: Any  # (N, T, classes)
    locations: Any  # (N, T, 2): x before y, the image spans -1 to 1
    means: Any  # (N, T, 2), of the distributions that locations are sampled from
    baselines: Any  # (N, T), the reward expected before each glimpse
    attention: Any  # (N, T, R, R), over the regions of the context, row by row
    glimpse_boxes: Any = None  # (N, T, K, 3): x and y of the centre of each patch, half its side
    patches: Any = ()  # (N, T, K, 3, patch, patch); empty for cached features


class GlimpseController(gluon.HybridBlock):
    """An LSTM over glimpses, with soft attention over R x R regions of the context.

    Attributes:
        sampled: whether locations are sampled, so that no gradient passes through them.
        mirrored: whether locations are computed as in a public PyTorch implementation, whose
            weights can be converted: y points up, and a tanh bounds them.
    """

    def __init__(self, classes: int, channels: int, options: GlimpseOptions, **kwargs: Any) -> None:
        """`channels` are those of the features of a patch."""
        super().__init__(**kwargs)
        self.glimpses, self.regions, self.policy = options.glimpses, options.regions, options.policy
        self.reach = options.reach or 1 - 1 / options.regions
        self.sampled = options.location != "differentiable" and options.policy == "learned"
        self.mirrored = options.location == "mirrored"
        hidden, attention = options.hidden, options.attention or max(options.hidden // 2, 1)
        self.attention = attention
        linear = dict(use_bias=False)
        # Zero-initialised, so that a fresh network attends to the centre: a first location off the
        # object has no gradient.
        uniform = dict(weight_initializer=init.Zero(), **linear)
        with self.name_scope():
            self.core = RecurrentCore(
                "lstm", hidden, in_units=options.patches * channels, prefix="core_"
            )
            self.first_score = nn.Conv2D(
                1, 1, in_channels=channels, prefix="first_score_", **uniform
            )
            if self.glimpses > 1:
                self.key = nn.Conv2D(attention, 1, in_channels=channels, prefix="key_", **linear)
                self.query = nn.Dense(attention, in_units=hidden, prefix="query_", **linear)
                self.score = nn.Conv2D(1, 1, in_channels=attention, prefix="score_", **uniform)
            self.head = Classifier(classes, in_units=hidden, flatten=False, prefix="head_")
            self.baseline = nn.Dense(1, in_units=hidden, flatten=False, prefix="baseline_")
            self.drop = nn.Dropout(options.dropout)

    def unroll(self, F: Any, context: Any, encode: Callable[[Any], Any], noise: Any) -> Trace:
        """An episode, without its boxes and patches.

        Args:
            context: features of the whole image, (N, C, h, w).
            encode: locations (N, 2) to features of the glimpses there, (N, patches * C).
            noise: added to the means of locations, (1 or N, T, 2).
        """
        regions = F.contrib.AdaptiveAvgPooling2D(context, output_size=(self.regions,) * 2)
        regions = detach(F, regions) if self.sampled else regions
        keys = self.key(regions) if self.glimpses > 1 else None  # (N, attention, R, R)
        state = zeros_like_batch(F, context, self.core.state_width)
        hiddens, means, locations, attention = [self.core.hidden(F, state)], [], [], []
        for step in range(self.glimpses):
            weights, mean = self.attend(F, regions, keys, hiddens[-1], step)
            offset = F.reshape(F.slice_axis(noise, axis=1, begin=step, end=step + 1), shape=(-1, 2))
            mean = mean if self.policy == "learned" else mean * 0
            location = F.broadcast_add(mean, offset)
            if self.mirrored:
                x, y = F.split(location, num_outputs=2, axis=1)
                location = F.tanh(concat(F, x, -y))
            if self.sampled or self.policy != "learned":
                location = detach(F, location)
            locations.append(F.clip(location, -1, 1))
            state = self.core(self.drop(encode(locations[-1])), state)
            hiddens.append(self.core.hidden(F, state))
            means.append(mean)
            attention.append(weights)
        step_logits = self.head(self.drop(F.stack(*hiddens[1:], axis=1)))  # (N, T, classes)
        baselines = self.baseline(detach(F, F.stack(*hiddens[:-1], axis=1)))
        logits = F.slice_axis(step_logits, axis=1, begin=-1, end=None)
        return Trace(
            logits=F.squeeze(logits, axis=1),
            step_logits=step_logits,
            locations=F.stack(*locations, axis=1),
            means=F.stack(*means, axis=1),
            baselines=F.squeeze(baselines, axis=2),
            attention=F.stack(*attention, axis=1),
        )

    def attend(self, F: Any, regions: Any, keys: Any, hidden: Any, step: int) -> Tuple[Any, Any]:
        """Attention weights over regions (N, R, R), and the mean of their centres (N, 2).

        Args:
            regions: features of the regions, (N, C, R, R).
            keys: projections of the regions that the query is compared with.
            hidden: hidden state that the query is computed from; the first step has no query.
        """
        if step:
            hidden = detach(F, hidden) if self.sampled else hidden
            query = F.reshape(self.query(hidden), shape=(0, 0, 1, 1))
            scores = self.score(F.tanh(F.broadcast_add(keys, query)))
        else:
            scores = self.first_score(regions)  # (N, 1, R, R)
        weights = F.softmax(F.reshape(scores, shape=(0, -1)), axis=1)
        weights = F.reshape(weights, shape=(0, self.regions, self.regions))
        center = []
        for axis in (1, 2):  # sum over rows for x, over columns for y
            marginal = F.sum(weights, axis=axis)  # (N, R)
            grid = F.contrib.arange_like(marginal, axis=1) * (2 / (self.regions - 1)) - 1
            weighted = F.broadcast_mul(marginal, F.expand_dims(grid, axis=0))
            center.append(F.sum(weighted, axis=1, keepdims=True) * self.reach)
        return weights, concat(F, *center)
