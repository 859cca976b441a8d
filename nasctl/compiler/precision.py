"""What fp32 means on a GPU."""

from __future__ import annotations

import torch


def fp32_throughout() -> None:
    """Make torch's own recurrent layers compute fp32 in fp32 on a GPU, from now on in this process.

    By default cuDNN rounds what they multiply to TF32, which keeps 10 bits of a number's 23, and cuBLAS, which
    multiplies for all other cells, does not: an LSTM and a found cell would be compared at two precisions.
    """
    torch.backends.cudnn.allow_tf32 = False
