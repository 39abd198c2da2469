"""The recurrent part of the glimpse network: it remembers, answers, and says where to look next."""

from __future__ import annotations

from typing import Any, Callable, Tuple

from mxnet import gluon, init
from mxnet.gluon import nn

from ...ops.safe import concat, detach
from ..recurrent_core import RecurrentCore, zeros_like_batch


class GlimpseController(gluon.HybridBlock):
    """An LSTM over glimpses, with attention over R x R regions of the context.

    Args:
        classes: length of its answers.
        channels: of the features of a window.
        patches: windows of a glimpse.
        glimpses: of an episode.
        regions: R.
        reach: how far from the middle the outermost regions count as lying.
        hidden: width of the LSTM.
        attention: width in which regions and hidden state are compared.
        dropout: of what was seen and of what answers are read from.
        policy: learned, center or random.
        drawn: whether locations are drawn, so that no gradient passes them.
        mirrored: compute locations as a public PyTorch implementation does, whose weights can be
            converted: up is down, and a tanh bounds them.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        patches: int,
        glimpses: int,
        regions: int,
        reach: float,
        hidden: int,
        attention: int,
        dropout: float,
        policy: str,
        drawn: bool,
        mirrored: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.glimpses, self.regions, self.reach = glimpses, regions, reach
        self.policy, self.drawn, self.mirrored = policy, drawn, mirrored
        plain = dict(use_bias=False)
        with self.name_scope():
            self.core = RecurrentCore("lstm", hidden, in_units=patches * channels, prefix="core_")
            # A new one looks at the middle: a place that has nothing to see teaches nothing.
            even = dict(weight_initializer=init.Zero(), **plain)
            self.first_score = nn.Conv2D(1, 1, in_channels=channels, prefix="first_score_", **even)
            if glimpses > 1:
                self.key = nn.Conv2D(attention, 1, in_channels=channels, prefix="key_", **plain)
                self.query = nn.Dense(attention, in_units=hidden, prefix="query_", **plain)
                self.score = nn.Conv2D(1, 1, in_channels=attention, prefix="score_", **even)
            self.head = nn.Dense(classes, in_units=hidden, flatten=False, prefix="head_")
            self.baseline = nn.Dense(1, in_units=hidden, flatten=False, prefix="baseline_")
            self.drop = nn.Dropout(dropout)

    def unroll(
        self, F: Any, context: Any, look: Callable[[Any], Any], noise: Any
    ) -> Tuple[Any, ...]:
        """Logits, step logits, locations, means, baselines and attention: as a trace begins.

        Args:
            context: features of the whole image, (N, C, h, w).
            look: gives features of a glimpse, (N, patches * C), at locations (N, 2).
            noise: added to the means of locations, (1 or N, T, 2).
        """
        areas = F.contrib.AdaptiveAvgPooling2D(context, output_size=(self.regions,) * 2)
        areas = detach(F, areas) if self.drawn else areas
        known = self.key(areas) if self.glimpses > 1 else None  # (N, attention, R, R)
        state = zeros_like_batch(F, context, self.core.state_width)
        hiddens, means, locations, shares = [self.core.hidden(F, state)], [], [], []
        for step in range(self.glimpses):
            share, mean = self.attend(F, areas, known, hiddens[-1], step)
            jump = F.reshape(F.slice_axis(noise, axis=1, begin=step, end=step + 1), shape=(-1, 2))
            mean = mean if self.policy == "learned" else mean * 0
            place = F.broadcast_add(mean, jump)
            if self.mirrored:
                across, down = F.split(place, num_outputs=2, axis=1)
                place = F.tanh(concat(F, across, -down))
            if self.drawn or self.policy != "learned":
                place = detach(F, place)
            locations.append(F.clip(place, -1, 1))
            state = self.core(self.drop(look(locations[-1])), state)
            hiddens.append(self.core.hidden(F, state))
            means.append(mean)
            shares.append(share)
        answers = self.head(self.drop(F.stack(*hiddens[1:], axis=1)))  # (N, T, classes)
        expected = self.baseline(detach(F, F.stack(*hiddens[:-1], axis=1)))
        last = F.slice_axis(answers, axis=1, begin=-1, end=None)
        return (
            F.squeeze(last, axis=1),
            answers,
            F.stack(*locations, axis=1),
            F.stack(*means, axis=1),
            F.squeeze(expected, axis=2),
            F.stack(*shares, axis=1),
        )

    def attend(self, F: Any, areas: Any, known: Any, hidden: Any, step: int) -> Tuple[Any, Any]:
        """Attention over regions (N, R, R), and the mean of their middles (N, 2).

        Args:
            areas: features of the regions, (N, C, R, R).
            known: the same, as they are compared with what the LSTM asks for.
            hidden: of the LSTM; the first step asks for nothing, and does not read it.
        """
        if step:
            hidden = detach(F, hidden) if self.drawn else hidden
            asked = F.reshape(self.query(hidden), shape=(0, 0, 1, 1))
            scores = self.score(F.tanh(F.broadcast_add(known, asked)))
        else:
            scores = self.first_score(areas)  # (N, 1, R, R)
        share = F.softmax(F.reshape(scores, shape=(0, -1)), axis=1)
        share = F.reshape(share, shape=(0, self.regions, self.regions))
        middles = []
        for axis in (1, 2):  # over rows for x, over columns for y
            along = F.sum(share, axis=axis)  # (N, R)
            steps = F.contrib.arange_like(along, axis=1) * (2 / (self.regions - 1)) - 1
            weighed = F.broadcast_mul(along, F.expand_dims(steps, axis=0))
            middles.append(F.sum(weighed, axis=1, keepdims=True) * self.reach)
        return share, concat(F, *middles)
