"""The loss scale of float16, in which small gradients would become 0."""

from __future__ import annotations

from typing import List, Sequence

from mxnet import nd

from ..errors import UserError

START, LOWEST, HIGHEST = 2.0**16, 2.0**-10, 2.0**24
GROWTH = 2000  # good steps after which the factor doubles
_ARRAYS = 200  # largest number that MXNet checks at once


class LossScale:
    """The loss scale: a power of two, exact in every gradient, that halves after an overflow.

    MXNet's own LossScaler halves a step too late, so that an overflow costs two steps.
    """

    def __init__(self, value: float = START, good_steps: float = 0) -> None:
        self.value, self.good_steps = value, good_steps

    def state(self) -> List[float]:
        """The arguments that recreate this object."""
        return [self.value, self.good_steps]

    def factors(self, losses: Sequence[nd.NDArray]) -> List[nd.NDArray]:
        """The head gradients of losses, for `backward`."""
        kinds = [dict(ctx=loss.context, dtype=loss.dtype) for loss in losses]
        return [nd.full(loss.shape, self.value, **kind) for loss, kind in zip(losses, kinds)]

    def fits(self, gradients: Sequence[nd.NDArray]) -> bool:
        """Whether all gradients of a step are finite; if not, the step has to be skipped.

        Gradients are already summed over devices and workers, so that all workers agree.
        """
        parts = [gradients[i : i + _ARRAYS] for i in range(0, len(gradients), _ARRAYS)]
        finite = [nd.multi_all_finite(*part, num_arrays=len(part)) for part in parts]
        if not all(flag.asscalar() for flag in finite):
            self.value, self.good_steps = self.value / 2, 0
            if self.value < LOWEST:
                raise UserError(
                    "gradients overflow float16 however small the loss scale is: try a lower --lr, "
                    "--clip 5, or leave out --dtype"
                )
            return False
        self.good_steps += 1
        if self.good_steps == GROWTH:
            self.value, self.good_steps = min(2 * self.value, HIGHEST), 0
        return True
