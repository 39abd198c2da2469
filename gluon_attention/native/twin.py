"""The native twin of a network: its training pass in the native library, on its parameters."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
from mxnet import autograd, gluon, nd

from ..errors import UserError
from ..installation import build_native
from .loader import Library, library
from .program import Program, Unsupported

DTYPES = ("float32", "bfloat16")


class Lowered(NamedTuple):
    """The result of a network's `lower`."""

    head: gluon.Block  # from the first output to that of the network, computed by MXNet
    masks: Sequence[int] = ()  # features that a trace shows


class Compiled(NamedTuple):
    """A program in the library."""

    number: int
    program: Program
    head: gluon.Block
    requests: List[str]  # `grad_req` of its parameters, as it has gradients of some only


class Twin:
    """Computes the outputs of a network in training, on a CPU.

    It reads the parameters of the network, and autograd writes their gradients and running
    statistics. So files, validation and export are those of the network. It raises an error outside
    of `autograd.record`, unless it is built with `trained=False`.
    """

    def __init__(
        self,
        net: gluon.Block,
        dtype: str = "float32",
        image_gradient: bool = False,
        trained: bool = True,
    ) -> None:
        """Write the program of the network.

        Args:
            net: the network; if it is not trained, its BatchNorm keeps its statistics.
            dtype: float32 or bfloat16.
            image_gradient: whether images depend on parameters and need a gradient.
            trained: whether the parameters of the network need gradients. If not, the twin also
                computes outside of `autograd.record`.
        """
        self._library = usable_library(dtype)
        self.net, self.dtype, self.trained = net, dtype, trained
        self.image_gradient = image_gradient
        self._programs: Dict[bool, Compiled] = {}
        self._compiled(False)  # raises `Unsupported`

    def __call__(self, images: nd.NDArray) -> Any:
        """The output of the network, such as logits (N, classes), or a list of several."""
        return unwrap(self._run(images, False))

    def trace(self, images: nd.NDArray) -> Tuple[nd.NDArray, List[nd.NDArray]]:
        """Logits, and the masks of all attention modules (N, C, H, W)."""
        logits, *masks = self._run(images, True)
        return logits, masks

    def of_frozen(self, net: gluon.Block) -> Twin:
        """The twin of a copy of the network that passes gradients on and is not trained.

        It computes in float32: the gradient of a box is a small difference of large sums over
        pixels, of which bfloat16 leaves nothing.
        """
        return Twin(net, image_gradient=True, trained=False)

    def _run(self, images: nd.NDArray, masks: bool) -> List[nd.NDArray]:
        self._check(images)
        number, program, head, _ = self._compiled(masks)
        arrays = [self._values(parameter, images.context) for parameter in program.parameters]
        for place in program.statistics:
            arrays[place] = _written_by_backward(arrays[place])
        if self.image_gradient:
            images = images.reshape(images.shape)  # written, as in `_values`
        pooled, *others = self._library.run(number, [images, *arrays])
        return [head(pooled), *others]

    def _check(self, images: nd.NDArray) -> None:
        check_device(images)
        if self.trained and not (autograd.is_recording() and autograd.is_training()):
            raise UserError("a native twin only trains: call it inside autograd.record()")
        if images.grad is not None and not self.image_gradient:
            raise UserError(
                "this twin computes no gradient of images: build it with image_gradient=True"
            )

    def _values(self, parameter: gluon.Parameter, device: mx.Context) -> nd.NDArray:
        """The values of a parameter, whose gradient the library writes if the network is trained.

        MXNet does not tell the library whether to write a gradient or to add to it. So the library
        always writes; if `grad_req` is "add", MXNet adds the gradient of a view in the graph.
        """
        array = parameter.data(device)
        if not self.trained:
            return array.detach()
        return array.reshape(array.shape) if parameter.grad_req == "add" else array

    def _compiled(self, masks: bool) -> Compiled:
        """The program that also returns masks, or not."""
        compiled = self._programs.get(masks)
        if compiled is None or compiled.requests != compiled.program.requests():
            program = Program(self.trained)
            lowered = self.net.lower(program)
            for mask in lowered.masks if masks else ():
                program.give(mask)
            options = dict(bfloat16=int(self.dtype == "bfloat16"))
            text = program.text(input_gradient=int(self.image_gradient), **options)
            number = self._library.program(text)
            compiled = Compiled(number, program, lowered.head, program.requests())
            self._programs[masks] = compiled
        return compiled


def unwrap(outputs: List[nd.NDArray]) -> Any:
    """The only output, or the list of several."""
    return outputs if len(outputs) > 1 else outputs[0]


def usable_library(dtype: str) -> Library:
    """The library; an error if it is not built or cannot compute in that type here."""
    native_library = library()
    if native_library is None:
        raise UserError(f"the native library is not built: run {build_native()}")
    if dtype not in DTYPES:
        raise UserError(f"dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
    if dtype == "bfloat16" and not native_library.has_bfloat16:
        instructions = native_library.instruction_set
        raise UserError(f"bfloat16 needs AVX-512, and oneDNN has {instructions} here")
    return native_library


def check_device(images: nd.NDArray) -> None:
    if images.context.device_type not in ("cpu", "cpu_pinned", "cpu_shared"):
        raise UserError(f"the native library computes on a CPU, not on {images.context}")


def _written_by_backward(statistics: nd.NDArray) -> nd.NDArray:
    """Running statistics as a variable whose gradient has their own memory.

    A backward pass can write gradients only, so that MXNet's engine knows their readers and
    writers. The variable is for one call, as MXNet sums the gradients over several calls.
    """
    variable = statistics.detach()
    autograd.mark_variables([variable], [statistics], "write")
    return variable


def twin(net: gluon.Block, dtype: str = "float32", image_gradient: bool = False) -> Optional[Twin]:
    """The native twin of a network; None without a library, or if it does not support a part."""
    if library() is None or not hasattr(net, "lower"):
        return None
    try:
        return Twin(net, dtype, image_gradient)
    except Unsupported:
        return None
