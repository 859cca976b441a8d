"""oneDNN's linear layer with a packed matrix: on a CPU faster than torch.mm for a large matrix, by a tenth and more.

torch has no public function for it, so every use asks `packed` first, which knows where it is there and worth it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SMALLEST, SMALLEST_SHALLOW, DEEP = 150_000, 500_000, 384
"""Entries of a matrix from which packing pays: if every result sums over so many products, and if over fewer."""


def packed(matrix: Tensor) -> Callable[[Tensor], Tensor] | None:
    """A function that multiplies [n, in] by the transpose of `matrix` [out, in]; None where torch.mm does better."""
    suited = matrix.device.type == "cpu" and matrix.dtype in {torch.float32, torch.bfloat16}
    smallest = SMALLEST if matrix.shape[1] >= DEEP else SMALLEST_SHALLOW
    if not suited or matrix.numel() < smallest or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        pack = torch.ops.mkldnn._reorder_linear_weight.default  # noqa: SLF001 - there is no other
        linear = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001 - as above
    except AttributeError:  # a build of torch without it
        return None
    ready = pack(matrix.detach().contiguous())

    def multiply(x: Tensor) -> Tensor:
        return linear(x, ready, None, "none", [], "")  # type: ignore[no-any-return]

    return multiply
