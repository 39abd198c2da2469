"""The forward pass of a network as a program for the native library, one instruction per line.

A block of the zoo adds its part of a program in a `lower` method or function; this module adds
layers of Gluon. Features are numbers of arrays (n, h, w, c) in the library's memory.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.model_zoo.vision.mobilenet import LinearBottleneck
from mxnet.gluon.model_zoo.vision.resnet import BasicBlockV1, BottleneckV1, BottleneckV2


class Unsupported(Exception):
    """The library does not support a part of a network; MXNet trains it instead."""


class Instruction(NamedTuple):
    """A line of a program."""

    operator: str
    arguments: Dict[str, Any]

    def __str__(self) -> str:
        words = (f"{name}={value}" for name, value in self.arguments.items())
        return " ".join([self.operator, *words])


class Program:
    """Instructions, and the parameters that they use, each once."""

    def __init__(self, trained: bool = True) -> None:
        """`trained`: whether parameters get gradients, unless their `grad_req` is "null"."""
        self.trained = trained
        self.parameters: List[gluon.Parameter] = []
        self.statistics: List[int] = []  # indices of running means and variances among them
        self.instructions: List[Instruction] = []
        self.outputs = 0
        self._features = 0
        self._places: Dict[int, int] = {}

    def text(self, **options: Any) -> str:
        """The text of the program for the library."""
        inputs = 1 + len(self.parameters)
        return text_of(self.instructions, inputs=inputs, outputs=self.outputs, **options)

    def images(self) -> int:
        """The input images as features."""
        return self._instruction("images")

    def convolution(
        self, x: int, layer: nn.Conv2D, add: Optional[int] = None, act: str = "none"
    ) -> int:
        """A convolution, plus the features `add`, and the activation after the sum."""
        options = _square(layer)
        if act not in ("none", "relu"):
            raise Unsupported(f"the activation {act} of a convolution")
        if layer.bias is not None:
            options["bias"] = self._parameter(layer.bias)
        if add is not None:
            options["add"] = add
        options["weight"] = self._parameter(layer.weight)
        options["trained"] = self._trained(layer.weight, layer.bias)
        return self._instruction("convolution", x=x, act=act, **options)

    def norm(self, x: int, layer: nn.BatchNorm, act: str = "none") -> int:
        """BatchNorm and the activation after it."""
        options = layer._kwargs
        if type(layer) is not nn.BatchNorm and not getattr(layer, "is_batch_norm", False):
            raise Unsupported(f"normalization by {type(layer).__name__}")
        if options["axis"] != 1 or options["fix_gamma"]:
            raise Unsupported(f"BatchNorm with {options}")
        places = {
            "gamma": self._parameter(layer.gamma),
            "beta": self._parameter(layer.beta),
            "mean": self._parameter(layer.running_mean),
            "variance": self._parameter(layer.running_var),
        }
        fixed = options["use_global_stats"]
        for place in () if fixed else (places["mean"], places["variance"]):
            if place - 1 not in self.statistics:
                self.statistics.append(place - 1)
        numbers = dict(eps=options["eps"], momentum=options["momentum"], fixed=int(fixed))
        numbers["trained"] = self._trained(layer.gamma, layer.beta)
        return self._instruction("norm", x=x, act=act, **places, **numbers)

    def pool(self, x: int, kernel: int = 3, stride: int = 2, pad: int = 1) -> int:
        """Max pooling."""
        return self._instruction("pool", x=x, kernel=kernel, stride=stride, pad=pad)

    def resize(self, x: int, like: int) -> int:
        """Bilinear resize with aligned corners, to height and width of other features."""
        return self._instruction("resize", x=x, like=like)

    def add(self, a: int, b: int, act: str = "none") -> int:
        """The sum of two features, and the activation after it."""
        return self._instruction("add", a=a, b=b, act=act)

    def gate(self, z: int, trunk: int, kind: str, residual: bool) -> Sequence[int]:
        """The end of an attention module: weighted features, and the mask."""
        mask = self._feature()
        options = dict(z=z, trunk=trunk, mask=mask, kind=kind, residual=int(residual))
        return self._instruction("gate", **options), mask

    def give_mean(self, x: int) -> None:
        """Return the mean of each channel, (N, C), as the next output."""
        self._output("mean", x)

    def give(self, x: int) -> None:
        """Return features, (N, C, H, W), as the next output."""
        self._output("features", x)

    def layers(self, x: int, block: gluon.Block) -> int:
        """Layers of Gluon in sequence."""
        pending = list(_flat(block))
        while pending:
            layer = pending.pop(0)
            if isinstance(layer, nn.BatchNorm):
                x = self.norm(x, layer, _activation(pending))
            elif type(layer) is nn.Conv2D:
                x = self.convolution(x, layer, act=_activation(pending))
            elif type(layer) in _LAYERS:
                x = _LAYERS[type(layer)](self, x, layer)
            else:
                raise Unsupported(f"the layer {type(layer).__name__}")
        return x

    def bottleneck(self, x: int, unit: BottleneckV2) -> int:
        """A pre-activation unit, whose last convolution adds the shortcut."""
        y = self.norm(x, unit.bn1, "relu")
        shortcut = x if unit.downsample is None else self.convolution(y, unit.downsample)
        y = self.norm(self.convolution(y, unit.conv1), unit.bn2, "relu")
        y = self.norm(self.convolution(y, unit.conv2), unit.bn3, "relu")
        return self.convolution(y, unit.conv3, add=shortcut)

    def inverted_residual(self, x: int, unit: LinearBottleneck) -> int:
        """A unit of MobileNetV2, without an activation at its end."""
        y = self.layers(x, unit.out)
        return self.add(y, x) if unit.use_shortcut else y

    def residual(self, x: int, unit: gluon.Block) -> int:
        """A unit of ResNet, activated after the sum."""
        shortcut = x if unit.downsample is None else self.layers(x, unit.downsample)
        return self.add(self.layers(x, unit.body), shortcut, act="relu")

    def _feature(self) -> int:
        self._features += 1
        return self._features - 1

    def _instruction(self, operator: str, **arguments: Any) -> int:
        y = self._feature()
        self.instructions.append(Instruction(operator, dict(y=y, **arguments)))
        return y

    def _output(self, operator: str, x: int) -> None:
        self.instructions.append(Instruction(operator, dict(x=x, output=self.outputs)))
        self.outputs += 1

    def requests(self) -> List[str]:
        """The `grad_req` of every parameter, on which the instructions depend."""
        return [parameter.grad_req for parameter in self.parameters]

    def _trained(self, *parameters: Optional[gluon.Parameter]) -> int:
        return int(self.trained and any(p and p.grad_req != "null" for p in parameters))

    def _parameter(self, parameter: gluon.Parameter) -> int:
        """The index of a parameter among the arrays; index 0 is the images."""
        if id(parameter) not in self._places:
            self.parameters.append(parameter)
            self._places[id(parameter)] = len(self.parameters)
        return self._places[id(parameter)]


def text_of(instructions: Sequence[Instruction], **options: int) -> str:
    """The text of instructions for the library."""
    return "\n".join(str(line) for line in (Instruction("program", options), *instructions))


def _flat(block: gluon.Block) -> Sequence[gluon.Block]:
    if isinstance(block, nn.HybridSequential):
        return [layer for child in block for layer in _flat(child)]
    return [block]


def _activation(layers: List[gluon.Block]) -> str:
    """Remove the activation at the start of layers and return its name, or "none"."""
    name = type(layers[0]).__name__.lower() if layers else ""
    if name == "relu6":
        layers.pop(0)
        return name
    if name == "activation":
        name = layers.pop(0)._act_type
        if name != "relu":
            raise Unsupported(f"the activation {name}")
        return name
    return "none"


def _square(layer: nn.Conv2D) -> Dict[str, int]:
    """Options of a convolution with equal options for both axes."""
    options = layer._kwargs
    for name in ("kernel", "stride", "pad", "dilate"):
        if len(set(options[name])) != 1:
            raise Unsupported(f"a convolution with {name} {options[name]}")
    if options["dilate"][0] != 1 or options["layout"] != "NCHW" or layer.act is not None:
        raise Unsupported(f"a convolution with {options}")
    return dict(
        channels=options["num_filter"],
        kernel=options["kernel"][0],
        stride=options["stride"][0],
        pad=options["pad"][0],
        groups=options["num_group"],
    )


def _window(layer: nn.MaxPool2D) -> Sequence[int]:
    """Kernel, stride and padding of a pooling with equal options for both axes."""
    options = layer._kwargs
    sizes = [options[name] for name in ("kernel", "stride", "pad")]
    if any(len(set(size)) != 1 for size in sizes) or options["pooling_convention"] != "valid":
        raise Unsupported(f"pooling with {options}")
    return [size[0] for size in sizes]


_LAYERS = {
    nn.MaxPool2D: lambda program, x, layer: program.pool(x, *_window(layer)),
    BottleneckV2: Program.bottleneck,
    LinearBottleneck: Program.inverted_residual,
    BottleneckV1: Program.residual,
    BasicBlockV1: Program.residual,
}
