"""Recurrent Models of Visual Attention (RAM).

Volodymyr Mnih, Nicolas Heess, Alex Graves, Koray Kavukcuoglu. NIPS 2014,
https://arxiv.org/abs/1406.6247

A network that never sees an image whole: it looks at a few small windows in turn, and learns where
to look next from nothing but whether its final answer was right.

Where this differs from the paper, and why:
  * The mean of a location comes from a hidden layer behind the core, as in public implementations.
  * Windows are sampled bilinearly, so a location need not fall on a pixel. `retina="pixels"` cuts
    whole pixels as public PyTorch implementations do, for weights that were trained with it.
  * The REINFORCE term leaves out the first location unless it is learned, and there is none for a
    location that is never looked at.
  * A glimpse is paid for what it adds to the log-probability of the label (`reinforce.Reinforce`).

What options did, as validation error in percent at ten samples, and at one:
  * 28x28, 6 epochs, paid for a right answer: 3.1 / 6.3; std 0.25 instead of 0.1: 3.1 / 8.1; first
    location in the middle: 15 / 16; REINFORCE into the core: 3.6 / 6.8.
  * translated, 4 glimpses, 3 epochs, paid for a right answer: 15 / 19; locators at 0.3 of the
    rate: 12 / 16; paid for gains: 9.9 / 14; moves relative to the last location: 12 / 16; those
    and REINFORCE into the core: 11 / 17 after 2 epochs, 18 / 23 with ten times its weight.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Tuple

from mxnet import autograd, gluon, init, nd

from ...errors import UserError, check_choice
from ...ops.crop import aim, between_pixels, box_means, glimpse
from ...ops.safe import detach
from ..attention_net import AttentionNet, check_samples
from ..recurrent_core import Core
from ..registry import register
from .parts import GlimpseNetwork, Locator
from .task import Reinforce

# Section 4.1 of the paper: side of the image; side of the patch, scales, glimpses. Where the widest
# window sees most of the image from its middle, a first glimpse elsewhere is lost. The spread of
# locations is that of the last stage of training.
WIDTHS = (128, 128, 256, 256, 128)  # of what, where, both, core and locator
SCENE = dict(patch=12, scales=3, start="center", move="relative", std=0.06)
SPECS = {
    "ram_28": (28, dict(patch=8, scales=1, glimpses=6, start="uniform", move="absolute", std=0.07)),
    "ram_translated_60": (60, dict(SCENE, glimpses=6, std=0.05)),
    "ram_cluttered_60": (60, dict(SCENE, glimpses=8, widths=(256, 128, 256, 384, 128))),
    "ram_cluttered_100": (100, dict(SCENE, glimpses=8, scales=4)),
}
CORES = ("rnn", "lstm")
MEANS = ("tanh", "clip")
STARTS = ("uniform", "center", "learned")
POLICIES = ("learned", "random")
MOVES = ("relative", "absolute")
RETINAS = ("bilinear", "pixels")
SEEN = "body.glimpse.what.weight"  # a column for each pixel of a glimpse


class Trace(NamedTuple):
    """All that an episode of T glimpses shows."""

    logits: nd.NDArray  # (N, classes), after the last glimpse
    locations: nd.NDArray  # (N, T, 2), looked at: x before y, in [-1, 1]
    means: nd.NDArray  # (N, T, 2), of the distributions they were drawn from
    baselines: nd.NDArray  # (N, T), the reward expected before each location was drawn
    step_logits: nd.NDArray  # (N, T + 1, classes), guesses before each glimpse, and the answer
    windows: nd.NDArray  # (N, T, K, C, patch, patch), what it saw, the finest scale first


class Episode(gluon.HybridBlock):
    """All glimpses, unrolled: (images, noise) to the parts of a `Trace`."""

    def __init__(
        self,
        classes: int,
        patch: int,
        scales: int,
        glimpses: int,
        channels: int,
        widths: Tuple[int, int, int, int, int],
        core: str,
        mean: str,
        start: str,
        policy: str,
        move: str,
        reinforce_core: bool,
        retina: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what, where, both, hidden, locate = widths
        self.patch, self.scales, self.glimpses = patch, scales, glimpses
        self.start, self.policy = start, policy
        self.relative, self.reinforce_core = move == "relative", reinforce_core
        self.rounds = retina == "pixels"
        with self.name_scope():
            pixels = scales * channels * patch * patch
            self.glimpse = GlimpseNetwork(what, where, both, in_units=pixels, prefix="glimpse_")
            self.core = Core(core, hidden, in_units=both, prefix="core_")
            self.locator = Locator(mean, locate, in_units=hidden, prefix="locator_")
            self.baseline = gluon.nn.Dense(1, in_units=hidden, flatten=False, prefix="baseline_")
            self.guess = gluon.nn.Dense(classes, in_units=hidden, flatten=False, prefix="guess_")
            self.answer = gluon.nn.Dense(classes, in_units=hidden, prefix="answer_")
        for parameter in self.locator.collect_params().values():
            parameter.lr_mult = 0.3  # faster ones run to the border before the rest can follow
            if glimpses == 1 and start != "learned":  # it is never asked
                parameter.grad_req = "null"

    def hybrid_forward(self, F: Any, images: Any, noise: Any) -> Tuple[Any, ...]:
        images = detach(F, images)
        boxed = box_means(F, images, self.scales)
        aimed = aim(F, boxed, self.patch, self.scales)
        nothing = F.zeros_like(F.slice_axis(F.flatten(images), axis=1, begin=0, end=1))  # (N, 1)
        state = F.broadcast_axis(nothing, axis=1, size=self.core.state_width)
        hidden = self.core.hidden(F, state)
        location = middle = F.broadcast_axis(nothing, axis=1, size=2)
        hiddens, means, locations, seen = [hidden], [], [], []
        for step in range(self.glimpses):
            mean = middle
            if step or self.start == "learned":
                mean = self.locator(hidden if self.reinforce_core else detach(F, hidden))
                mean = mean + location if self.relative else mean
                mean = mean * 0 if self.policy == "random" else mean
            jump = F.reshape(F.slice_axis(noise, axis=1, begin=step, end=step + 1), shape=(-1, 2))
            location = F.clip(detach(F, F.broadcast_add(mean, jump)), -1, 1)
            place = between_pixels(F, images, location) if self.rounds else location
            windows = detach(F, glimpse(F, boxed, place, aimed))
            state = self.core(self.glimpse(windows, location), state)
            hidden = self.core.hidden(F, state)
            hiddens.append(hidden)
            means.append(mean)
            locations.append(location)
            seen.append(windows)
        before = detach(F, F.stack(*hiddens[:-1], axis=1))  # (N, T, width)
        answer = self.answer(hidden)
        return (
            answer,
            F.stack(*locations, axis=1),
            F.stack(*means, axis=1),
            F.squeeze(self.baseline(before), axis=2),
            F.concat(self.guess(before), F.expand_dims(answer, axis=1), dim=1),
            F.stack(*seen, axis=1),
        )


class RecurrentAttention(AttentionNet):
    """RAM; `net(images)` looks at the means of its distributions, so it is deterministic."""

    Trace = Trace
    initializer = init.Xavier(magnitude=2.34)

    def __init__(self, episode: Episode, classes: int, std: float, **kwargs: Any) -> None:
        super().__init__(episode, **kwargs)
        self.classes, self.std = classes, std
        self.glimpses, self.start, self.policy = episode.glimpses, episode.start, episode.policy
        self.patch, self.scales = episode.patch, episode.scales

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        return (F.zeros((1, self.glimpses, 2)),)

    def noise(self, images: nd.NDArray) -> nd.NDArray:
        """What is added to the means of locations in an episode that is sampled: (N, T, 2)."""
        shape, ctx = (images.shape[0], self.glimpses, 2), images.context
        with autograd.pause():
            if self.policy == "random":
                return nd.random.uniform(-1, 1, shape=shape, ctx=ctx)
            jumps = nd.random.normal(scale=self.std, shape=shape, ctx=ctx)
            if self.start == "uniform":
                jumps[:, 0] = nd.random.uniform(-1, 1, shape=(shape[0], 2), ctx=ctx)
            elif self.start == "center":
                jumps[:, 0] = 0
            return jumps

    def sample(self, images: nd.NDArray) -> Tuple[Trace, nd.NDArray]:
        """An episode with drawn locations, and the noise that they were drawn with."""
        noise = self.noise(images)
        return self.episode(images, noise), noise

    def predict(self, images: nd.NDArray, samples: int = 10) -> nd.NDArray:
        """Probabilities (N, classes), averaged over `samples` drawn episodes."""
        check_samples(samples)
        many = nd.tile(images, (samples, 1, 1, 1))
        probabilities = nd.softmax(self.sample(many)[0].logits)
        return probabilities.reshape((samples, -1, self.classes)).mean(axis=0)

    def grown(self, arrays: Dict[str, Any]) -> Dict[str, Any]:
        """From fewer scales: new ones count nothing yet."""
        seen, pixels = arrays.get(SEEN), self.body.glimpse.what.weight.shape[1]
        if seen is None or seen.shape[1] >= pixels:
            return arrays
        unseen = nd.zeros((len(seen), pixels - seen.shape[1]), dtype=seen.dtype)
        return {**arrays, SEEN: nd.concat(seen, unseen, dim=1)}  # finer scales come first

    def objective(self, config: Any) -> Reinforce:
        return Reinforce.from_config(self, config)


def _builder(defaults: dict) -> Any:
    """What `get_model` calls."""

    def build(
        classes: int,
        patch: int = defaults["patch"],
        scales: int = defaults["scales"],
        glimpses: int = defaults["glimpses"],
        channels: int = 1,
        widths: Tuple[int, int, int, int, int] = defaults.get("widths", WIDTHS),
        std: float = defaults["std"],
        core: str = "rnn",
        mean: str = "tanh",
        start: str = defaults["start"],
        policy: str = "learned",
        move: str = defaults["move"],
        reinforce_core: bool = True,
        retina: str = "bilinear",
    ) -> RecurrentAttention:
        check_choice("core", core, CORES)
        check_choice("mean", mean, MEANS)
        check_choice("start", start, STARTS)
        check_choice("policy", policy, POLICIES)
        check_choice("move", move, MOVES)
        check_choice("retina", retina, RETINAS)
        if not (1 <= scales <= 10 and 1 <= glimpses <= 100 and std > 0):
            raise UserError("scales must be from 1 to 10, glimpses from 1 to 100, std above 0")
        if patch < 2 or channels < 1 or len(widths) != 5 or min(widths) < 1:
            raise UserError("patch must be 2 or more, channels 1, and widths five numbers above 0")
        if retina == "pixels" and patch % 2:
            raise UserError(f"retina='pixels' needs an even patch, not {patch}")
        episode = Episode(
            classes,
            patch,
            scales,
            glimpses,
            channels,
            widths,
            core=core,
            mean=mean,
            start=start,
            policy=policy,
            move=move,
            reinforce_core=reinforce_core,
            retina=retina,
        )
        return RecurrentAttention(episode, classes, std)

    return build


for _name, (_side, _defaults) in SPECS.items():
    register(_name, _builder(_defaults), shape=(1, _side, _side), classes=10)
