"""The contract of every network of the zoo: logits when called, and a trace of how it got there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, init, nd

from ..errors import UserError
from ..explain.looks import LookOf
from ..native import Trainable
from ..tasks.task import Classification, Task
from .classifier import Classifier, without_classifiers
from .feature_maps import FeatureMaps, stages_of
from .freezing import freeze, walk_blocks
from .portable_block import PortableBlock

if TYPE_CHECKING:
    from ..training.config import Config


class AttentionNet(Trainable, PortableBlock):
    """A network around a `body` that returns logits first, then all it can show.

    `net(images)` and `net.body(images)` are two graphs over the same parameters: hybridized, the
    first never computes or keeps what only the second returns. Randomness is always an argument of
    the body, and zeros where nothing is drawn: a hybridized body takes no other number of arguments
    the next time.

    Every network overrides `Trace`, `classes` and `classifier`, and makes its body inside
    `name_scope()`, as Gluon's networks make their layers: names of parameters begin with
    `net.prefix`. All layers to logits are `Classifier`s, so that `classes=0` and
    `reset_classifier` reach each. All else below has a default that suits a network without
    randomness whose trace is not drawn; a network overrides what it offers:

    - `look`, for pictures and pages of its trace, `shows`, their name, and `attended_boxes`,
      to compare where it looks with where it should;
    - `zero_noise` and `draw_noise`, if it draws; then `sample` and `predict` follow;
    - `adapt_weights`, to load weights of smaller networks;
    - `layers` and `backbones`, if it has feature maps of whole images;
    - `objective`, unless it is trained by cross entropy alone.
    """

    Trace: Callable[..., NamedTuple]  # named tuple of what `body` returns, in that order
    classes: int  # length of the logits
    classifier: Classifier  # the layer to the logits of `net(images)`
    body: gluon.HybridBlock
    arguments: Dict[str, Any]  # of `get_model`, which sets them: name, classes, options
    initializer = init.MSRAPrelu()  # of parameters without weights when training starts
    dtypes: Tuple[str, ...] = ("float32",)  # that it trains in, with weights in float32
    samples: Optional[int] = None  # episodes that `predict` averages; None if nothing is drawn
    look: Optional[LookOf] = None  # what pictures and pages show of the trace
    shows: str = ""  # name of those pictures, such as masks

    @property
    def device(self) -> mx.Context:
        """The first device that the parameters are on."""
        return next(iter(self.collect_params().values())).list_ctx()[0]

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.body(images, *self.zero_noise(F))[0]

    def trace(self, images: nd.NDArray) -> NamedTuple:
        """Logits and whatever the paper exposes, as a named tuple; nothing is drawn."""
        if not isinstance(images, nd.NDArray):
            raise UserError(
                "images must be an NDArray (N, C, H, W), as mx.nd.array(images) makes one, "
                f"not {type(images).__name__}"
            )
        with images.context:  # the device of the zeros
            return self.episode(images, *self.zero_noise(nd))

    def episode(self, images: nd.NDArray, *noise: nd.NDArray) -> NamedTuple:
        """The trace of images with the given noise."""
        return self.Trace(*self.body(images, *noise))

    @property
    def native_parts(self) -> Sequence[gluon.Block]:
        """What the native library may train: all of the network, or parts with `lower`."""
        return [self]

    # Randomness.

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        """The arguments of `body` after the images with which nothing is drawn."""
        return ()

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray, ...]:
        """The same, drawn for a batch of images."""
        return ()

    def sample(self, images: nd.NDArray) -> Tuple[NamedTuple, Tuple[nd.NDArray, ...]]:
        """A trace with drawn noise, and that noise; without randomness the only trace, and ()."""
        with autograd.pause():
            noise = self.draw_noise(images)
        return self.episode(images, *noise), noise

    def predict(self, images: nd.NDArray, samples: Optional[int] = None) -> nd.NDArray:
        """Probabilities (N, classes), averaged over drawn episodes.

        Args:
            images: (N, C, H, W).
            samples: number of episodes; None for the network's usual number, `net.samples`. A
                network that draws nothing takes no other: it has one answer.
        """
        if not self.classes:
            raise UserError("classes=0 gives features, not probabilities; leave it out to predict")
        if self.samples is None:
            if samples is not None:
                raise UserError("samples is for networks that draw where they look; leave it out")
            return nd.softmax(self(images))
        samples = self.samples if samples is None else samples
        if samples < 1:
            raise UserError(f"samples must be a whole number above 0, not {samples}")
        return self._mean_probabilities(images, samples)

    def _mean_probabilities(self, images: nd.NDArray, samples: int) -> nd.NDArray:
        episodes = [nd.softmax(self.sample(images)[0].logits) for _ in range(samples)]
        return nd.stack(*episodes).mean(axis=0)

    # Features, and heads for other classes.

    def layers(self) -> List[gluon.HybridBlock]:
        """The layers from images to the last feature map, as they are called."""
        raise UserError(
            f"{type(self).__name__} has no feature maps of whole images; forward_features and "
            "classes=0 give its features as a vector"
        )

    def backbones(self) -> List[List[gluon.HybridBlock]]:
        """The layers of each backbone, which `freeze` divides into stages."""
        return [self.layers()]

    def forward_features(self, images: nd.NDArray) -> nd.NDArray:
        """What pooling and classifier read: a feature map (N, C, h, w), or a vector (N, C).

        That of a residual attention network is its last feature map, of RA-CNN the descriptors of
        all scales, of RAM and of the glimpse network the hidden state after the last glimpse.
        """
        if "_features" not in vars(self):  # not a child: its parameters are those of the body
            vars(self)["_features"] = self._feature_block()
        return vars(self)["_features"](images)

    def _feature_block(self) -> Callable[[nd.NDArray], nd.NDArray]:
        block = Headless(self)
        block.hybridize()
        return block

    def reset_classifier(self, classes: int) -> None:
        """New layers to so many logits, initialised to be trained; all else stays as it is."""
        if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1:
            raise UserError(
                f"classes must be a whole number above 0, not {classes!a:.60}; get_model(..., "
                "classes=0) makes a network without a classifier"
            )
        for block in walk_blocks(self):
            if isinstance(block, Classifier):
                block.reset(int(classes), self.initializer)
            if isinstance(block, gluon.HybridBlock):
                block._clear_cached_op()
        vars(self).pop("_features", None)
        self.classes = int(classes)
        if "arguments" in vars(self):
            self.arguments = dict(self.arguments, classes=self.classes)

    def freeze(self, stages: Optional[int] = None) -> None:
        """Leave the first stages of every backbone as they were loaded; None for all of them.

        A stage is all layers at one stride, as `get_model(..., features_only=True).strides` lists
        them. BatchNorm in it keeps its statistics.
        """
        for layers in self.backbones():
            divided = stages_of(layers)
            if stages is not None and stages not in range(len(divided) + 1):
                raise UserError(
                    f"stages must be a whole number from 0 to {len(divided)}, not {stages!a:.60}: "
                    f"the strides are {', '.join(str(stage.stride) for stage in divided)}"
                )
            for stage in divided[:stages]:
                for layer in stage.layers:
                    freeze(layer)
        for block in walk_blocks(self):
            if isinstance(block, gluon.HybridBlock):
                block._clear_cached_op()

    # Measures of the trace.

    def attended_boxes(self, images: nd.NDArray) -> Optional[nd.NDArray]:
        """Boxes (N, K, 3) that should hold what the label is about: x, y, half the side.

        The image spans -1 to 1. None of a network that chooses no boxes.
        """
        return None

    # Weights of other networks.

    def adapt_weights(self, arrays: Dict[str, nd.NDArray]) -> Dict[str, nd.NDArray]:
        """Weights of a smaller network of this kind extended to this one, to be trained on."""
        return arrays

    def objective(self, config: Config) -> Task:
        """The task that trains this network by the settings of a run."""
        return Classification.from_config(self, config)

    # Gluon's methods, adapted to this build of MXNet.

    def infer_shape(self, *args: Any) -> None:
        """From the graph of the body, in which every parameter has a use."""
        self.body.infer_shape(*args, *self.zero_noise(nd))

    def cast(self, dtype: Any) -> None:
        """As Gluon's, to the types that all operators of the network support."""
        supported = ["float32", *(["float16"] if "float16" in self.dtypes else [])]
        try:
            name = np.dtype(dtype).name
        except TypeError:  # bfloat16, which numpy does not know
            name = str(dtype)
        if name not in supported:
            raise UserError(
                f"this network can be cast to {' or '.join(supported)}, not {dtype}; for bfloat16 "
                "in training see --dtype"
            )
        super().cast(dtype)

    def optimize_for(self, *args: Any, **kwargs: Any) -> None:
        """As Gluon's, for inference only: a fused network would train without learning."""
        if not self._backend:
            self._clear_cached_op()
        super().optimize_for(*args, **kwargs)

    def forward(self, *args: Any) -> Any:
        if self._backend and autograd.is_training():
            raise UserError("a fused network cannot be trained: train one that is not")
        return super().forward(*args)


class Headless(PortableBlock):
    """A network without its classifiers: images to what they read.

    It is always a graph, so that the body inside is never cached without its classifiers.
    """

    def __init__(self, net: AttentionNet) -> None:
        super().__init__()
        self.body = net.body
        vars(self)["_net"] = net  # not a child

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        with without_classifiers():
            return self.body(images, *self._net.zero_noise(F))[0]

    def infer_shape(self, *args: Any) -> None:
        self._net.infer_shape(*args)


class LastMap(FeatureMaps):
    """The last feature map of a network alone."""

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return super().hybrid_forward(F, images)[-1]
