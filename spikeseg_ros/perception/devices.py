# SPDX-License-Identifier: Apache-2.0
"""Choice of the device a network runs on."""

from __future__ import annotations

from spikeseg_ros.perception.config import ConfigError


def choose_device(name: str) -> str:
    """Return 'cuda' or 'cpu' for the option 'auto', 'cuda' or 'cpu'.

    Raises:
        ConfigError: CUDA is asked for where there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if name == 'auto':
        return 'cuda' if available else 'cpu'
    if name == 'cuda' and not available:
        built = torch.version.cuda
        reason = (
            'PyTorch was built without CUDA'
            if built is None
            else f'PyTorch (CUDA {built}) finds no usable GPU'
        )
        msg = f"device is 'cuda', but {reason}; set device to 'auto' or 'cpu'."
        raise ConfigError(msg)
    return name


def half_precision(precision: str, device: str) -> bool:
    """Say whether a network computes in float16, for 'auto', 'float32' or 'float16'.

    Raises:
        ConfigError: float16 is asked for on a CPU.
    """
    if precision == 'float16' and device != 'cuda':
        msg = (
            "semantic.precision is 'float16', which needs a GPU, and the network runs on the "
            f"{device}; set semantic.precision to 'auto' or 'float32'."
        )
        raise ConfigError(msg)
    return precision == 'float16'
