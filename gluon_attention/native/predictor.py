"""Inference by the native library, with parameters as constants."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import nn

from .loader import library
from .program import Instruction, Program, Unsupported, text_of
from .twin import check_device, unwrap, usable_library

FEATURES = ("x", "a", "b", "z", "trunk", "add", "like")  # arguments that an instruction reads
VALUES = ("weight", "bias", "gamma", "beta", "mean", "variance")  # those that are parameters


class Predictor:
    """Computes the outputs of a network in inference, on a CPU.

    It copies the values of all parameters when it is created, and folds BatchNorm into
    convolutions. Later changes of the network do not change the predictor.
    """

    def __init__(self, net: gluon.Block, dtype: str = "float32") -> None:
        self._library = usable_library(dtype)
        program = Program()
        self._head = _frozen(net.lower(program).head)
        instructions = fold(program.instructions, [_values(p) for p in program.parameters])
        arrays = _numbered(instructions)
        options = dict(bfloat16=int(dtype == "bfloat16"), inference=1)
        text = text_of(instructions, inputs=1, outputs=program.outputs, **options)
        self._number = self._library.program(text)
        weakref.finalize(self, self._library.forget, self._number)
        for array in arrays:
            self._library.constant(self._number, array)

    def __call__(self, images: nd.NDArray) -> Any:
        """The output of the network, such as logits (N, classes), or a list of several."""
        check_device(images)
        first, *others = self._library.run(self._number, [images])
        return unwrap([self._head(first), *others])


def predictor(net: gluon.Block, dtype: str = "float32") -> Optional[Predictor]:
    """The predictor of a network; None without a library, or if it does not support a part."""
    if library() is None or not hasattr(net, "lower"):
        return None
    try:
        return Predictor(net, dtype)
    except Unsupported:
        return None


def fold(instructions: Sequence[Instruction], values: Sequence[np.ndarray]) -> List[Instruction]:
    """Fewer instructions for the same features, with arrays in place of parameter numbers.

    A BatchNorm joins the convolution before it, and a sum joins the 1x1 convolution that computes
    one of its terms, if no other instruction reads the result of that convolution.
    """
    readers = Counter(i.arguments[name] for i in instructions for name in FEATURES if name in i[1])
    places: Dict[int, int] = {}  # index in the result of the instruction that computes features
    result: List[Instruction] = []
    for operator, arguments in instructions:
        arguments = {n: values[v - 1] if n in VALUES else v for n, v in arguments.items()}
        place = max((places[arguments[n]] for n in ("x", "a", "b") if n in arguments), default=0)
        if operator in ("norm", "add") and _joins(result[place], operator, readers):
            (_fold_norm if operator == "norm" else _fold_sum)(result[place].arguments, arguments)
        else:
            place = len(result)
            result.append(Instruction(operator, arguments))
        places.update((arguments[n], place) for n in ("y", "mask") if n in arguments)
        if operator == "norm":
            arguments["fixed"] = 1
    return result


def _joins(before: Instruction, operator: str, readers: Dict[int, int]) -> bool:
    """Whether a BatchNorm or a sum can join the instruction before it."""
    arguments = before.arguments
    if before.operator != "convolution" or arguments["act"] != "none" or "add" in arguments:
        return False
    return readers[arguments["y"]] == 1 and (operator == "norm" or arguments["kernel"] == 1)


def _fold_sum(convolution: Dict[str, Any], add: Dict[str, Any]) -> None:
    other = add["a"] + add["b"] - convolution["y"]
    convolution.update(add=other, act=add["act"], y=add["y"])


def _fold_norm(convolution: Dict[str, Any], norm: Dict[str, Any]) -> None:
    scale = norm["gamma"] / np.sqrt(norm["variance"] + np.float32(norm["eps"]))
    bias = (convolution.get("bias", 0) - norm["mean"]) * scale + norm["beta"]
    weight = convolution["weight"] * scale[:, None, None, None]
    convolution.update(weight=weight, bias=bias, act=norm["act"], y=norm["y"])


def _numbered(instructions: Sequence[Instruction]) -> List[np.ndarray]:
    """Replace arrays in instructions by numbers from 1 and return the arrays; images are 0."""
    arrays: List[np.ndarray] = []
    for _, arguments in instructions:
        for name in VALUES:
            if name in arguments:
                arrays.append(arguments[name])
                arguments[name] = len(arrays)
    return arrays


def _values(parameter: gluon.Parameter) -> np.ndarray:
    return parameter.list_data()[0].asnumpy()


def _frozen(head: gluon.Block) -> Callable[[nd.NDArray], nd.NDArray]:
    """The function of a head with copies of its current parameters."""
    if not head.collect_params().keys():
        return head
    if not isinstance(head, nn.Dense) or head.act is not None:
        raise Unsupported(f"a head of {type(head).__name__}")
    arrays = {name: p.list_data()[0].copy() for name, p in head._reg_params.items()}

    def dense(x: nd.NDArray) -> nd.NDArray:
        values = {name: array.as_in_context(x.context) for name, array in arrays.items()}
        options = dict(num_hidden=head._units, flatten=head._flatten, no_bias=head.bias is None)
        return nd.FullyConnected(x, **values, **options)

    return dense
