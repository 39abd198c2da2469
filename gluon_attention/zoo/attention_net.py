"""The base class of all networks: logits when called, and a trace of what was attended to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, init, nd

from ..errors import UserError
from ..explain.looks import LookOf
from ..native import NativeBlock
from ..tasks.task import Classification, Task
from .classifier import Classifier, without_classifiers
from .feature_maps import FeatureMaps, stages_of
from .freezing import freeze, walk_blocks
from .portable_block import PortableBlock

if TYPE_CHECKING:
    from ..training.config import Config


class AttentionNet(NativeBlock, PortableBlock):
    """A network around a `body` that returns logits first, then the rest of the trace.

    `net(images)` and `net.body(images)` are two graphs over the same parameters: hybridized, the
    first does not compute what only the second returns. Randomness is an argument of the body, all
    zeros for a deterministic pass, because a hybridized body has a fixed number of arguments.

    Every network overrides `Trace`, `classes` and `classifier`, and builds its body inside
    `name_scope()`, so that names of parameters begin with `net.prefix`. All layers that compute
    logits are `Classifier`s, which `classes=0` and `reset_classifier` rely on. The other methods
    have defaults for a deterministic network; a network overrides those that it supports:

    - `look` for pictures and pages of its trace, `shows` for their name, and `attended_boxes` to
      compare its attention with boxes of objects;
    - `zero_noise` and `draw_noise` if it samples; `sample` and `predict` use them;
    - `adapt_weights` to load weights of smaller networks;
    - `layers` and `backbones` if it has feature maps of whole images;
    - `objective` unless cross entropy alone trains it.
    """

    Trace: Callable[..., NamedTuple]  # named tuple of what `body` returns, in that order
    classes: int  # length of the logits
    classifier: Classifier  # the layer to the logits of `net(images)`
    body: gluon.HybridBlock
    arguments: Dict[str, Any]  # of `get_model`, which sets them: name, classes, options
    initializer = init.MSRAPrelu()  # of parameters without weights when training starts
    dtypes: Tuple[str, ...] = ("float32",)  # of training; weights stay float32
    samples: Optional[int] = None  # episodes that `predict` averages; None without sampling
    look: Optional[LookOf] = None  # what pictures and pages show of the trace
    shows: str = ""  # the name of those pictures, such as masks

    @property
    def device(self) -> mx.Context:
        """The first device that the parameters are on."""
        return next(iter(self.collect_params().values())).list_ctx()[0]

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.body(images, *self.zero_noise(F))[0]

    def trace(self, images: nd.NDArray) -> NamedTuple:
        """Logits and what the network attended to, as a named tuple, without sampling."""
        if not isinstance(images, nd.NDArray):
            raise UserError(
                "images must be an NDArray (N, C, H, W), such as mx.nd.array(images), "
                f"not {type(images).__name__}"
            )
        with images.context:  # the device of the zeros
            return self.episode(images, *self.zero_noise(nd))

    def episode(self, images: nd.NDArray, *noise: nd.NDArray) -> NamedTuple:
        """The trace of images with the given noise."""
        return self.Trace(*self.body(images, *noise))

    @property
    def native_parts(self) -> Sequence[gluon.Block]:
        """The blocks that the native library may train: the whole network, or parts of it."""
        return [self]

    # Randomness.

    def zero_noise(self, F: Any) -> Tuple[Any, ...]:
        """The arguments of `body` after the images, for a deterministic pass: zeros."""
        return ()

    def draw_noise(self, images: nd.NDArray) -> Tuple[nd.NDArray, ...]:
        """The same arguments, drawn for a batch of images."""
        return ()

    def sample(self, images: nd.NDArray) -> Tuple[NamedTuple, Tuple[nd.NDArray, ...]]:
        """A trace with drawn noise, and the noise; () for a deterministic network."""
        with autograd.pause():
            noise = self.draw_noise(images)
        return self.episode(images, *noise), noise

    def predict(self, images: nd.NDArray, samples: Optional[int] = None) -> nd.NDArray:
        """Probabilities (N, classes), averaged over drawn episodes.

        Args:
            images: (N, C, H, W).
            samples: number of episodes; None for `net.samples`, the network's usual number, and
                for a deterministic network.
        """
        if not self.classes:
            raise UserError("classes=0 returns features, no probabilities; leave it out to predict")
        if self.samples is None:
            if samples is not None:
                raise UserError("samples is for networks that sample glimpses; leave it out")
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
            "classes=0 return its features as a vector"
        )

    def backbones(self) -> List[List[gluon.HybridBlock]]:
        """The layers of each backbone, which `freeze` divides into stages."""
        return [self.layers()]

    def forward_features(self, images: nd.NDArray) -> nd.NDArray:
        """The input of pooling and classifier: a feature map (N, C, h, w) or a vector (N, C).

        It is the last feature map of a residual attention network, the descriptors of all scales
        of RA-CNN, and the hidden state after the last glimpse of RAM and the glimpse network.
        """
        if "_features" not in vars(self):  # not a child: its parameters are those of the body
            vars(self)["_features"] = self._feature_block()
        return vars(self)["_features"](images)

    def _feature_block(self) -> Callable[[nd.NDArray], nd.NDArray]:
        block = Headless(self)
        block.hybridize()
        return block

    def reset_classifier(self, classes: int) -> None:
        """Replace every classifier by an untrained one of so many classes; keep other layers."""
        if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1:
            raise UserError(
                f"classes must be a whole number above 0, not {classes!a:.60}; get_model(..., "
                "classes=0) builds a network without a classifier"
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
        """Freeze the first stages of every backbone, with their BatchNorm; None for all stages.

        A stage is all layers at one stride; `get_model(..., features_only=True).strides` lists
        the strides.
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
        """Boxes (N, K, 3) that should contain the labelled object: x, y, half the side.

        The image spans -1 to 1. None for a network without boxes.
        """
        return None

    # Weights of other networks.

    def adapt_weights(self, arrays: Dict[str, nd.NDArray]) -> Dict[str, nd.NDArray]:
        """Extend the weights of a smaller network of this kind to this one, for training."""
        return arrays

    def objective(self, config: Config) -> Task:
        """The task that trains this network with the settings of a run."""
        return Classification.from_config(self, config)

    # Gluon's methods, adapted to this build of MXNet.

    def infer_shape(self, *args: Any) -> None:
        """Infer shapes from the graph of the body, which uses every parameter."""
        self.body.infer_shape(*args, *self.zero_noise(nd))

    def cast(self, dtype: Any) -> None:
        """Gluon's `cast`, to the types that all operators of the network support."""
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
        """Gluon's `optimize_for`, for inference only: a fused network has no gradients."""
        if not self._backend:
            self._clear_cached_op()
        super().optimize_for(*args, **kwargs)

    def forward(self, *args: Any) -> Any:
        if self._backend and autograd.is_training():
            raise UserError("a fused network cannot be trained: train one that is not")
        return super().forward(*args)


class Headless(PortableBlock):
    """A network without its classifiers: images to the input of the classifiers.

    It is always hybridized, so that the body never caches a graph without classifiers.
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
