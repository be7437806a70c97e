# SPDX-License-Identifier: Apache-2.0
"""Copies for inference: normalisation inside of convolutions, fewer and cheaper products."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.blocks import BorderNorm, PixelLinear, RepConv
from spikeseg_ros.models.spike2former.head import DecodeHead, SpikeLinear

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.network import Spike2Former

Convolution = nn.Conv1d | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d


class FactoredRepConv(nn.Sequential):
    """A folded `RepConv` in three parts: about a fifth of the work of the dense kernel."""

    # Convolutions that do not see spikes.
    real_inputs = ('1', '2')


def folded(network: Spike2Former, dense: bool = False) -> Spike2Former:
    """Return a copy for inference; see `Spike2Former.folded`."""
    result = copy.deepcopy(network).eval()
    with torch.no_grad():
        for module in list(result.modules()):
            _fold_pairs(module, dense)
            if isinstance(module, DecodeHead) and module.mask_projection is None:
                _move_mask_weights(module)
        for module in result.modules():
            if type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.groups == 1:
                module.__class__ = PixelLinear
    for parameter in result.parameters():
        parameter.requires_grad_(False)
    return result


def _fold_pairs(module: nn.Module, dense: bool) -> None:
    pairs = list(getattr(module, 'norms', ()))
    if isinstance(module, nn.Sequential) and len(module) == 2:
        pairs.append(('0', '1'))
    for conv_name, norm_name in pairs:
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        if not isinstance(norm, Norm):
            continue
        if isinstance(conv, RepConv):
            setattr(module, conv_name, _fold_rep(conv, norm, dense))
        else:
            assert isinstance(conv, Convolution)
            _fold(conv, norm)
        setattr(module, norm_name, nn.Identity())


def gain_and_bias(norm: Norm) -> tuple[Tensor, Tensor]:
    """Return factor and summand of a normalisation in evaluation, each of shape (C,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain


def _fold(conv: Convolution, norm: Norm) -> None:
    gain, bias = gain_and_bias(norm)
    if conv.bias is not None:
        bias = bias + conv.bias * gain
    conv.weight.mul_(gain.view(-1, *[1] * (conv.weight.ndim - 1)))
    conv.bias = nn.Parameter(bias)


def _fold_rep(rep: RepConv, norm: Norm, dense: bool) -> nn.Module:
    """Return one dense convolution, or three without a normalisation in between."""
    first: Any = rep.body[0]
    border: Any = rep.body[1]
    tail: Any = rep.body[2]
    depthwise, last, inner = tail
    assert isinstance(border, BorderNorm)
    gain1, bias1 = gain_and_bias(border.bn)
    gain2, bias2 = gain_and_bias(inner)
    gain3, bias3 = gain_and_bias(norm)
    entry = first.weight * gain1.view(-1, 1, 1, 1)
    exit_ = last.weight * (gain2 * gain3).view(-1, 1, 1, 1)
    # The border holds what the first normalisation adds everywhere, so that it is a constant.
    constant = bias1 * depthwise.weight.sum((1, 2, 3))
    bias = exit_[:, :, 0, 0] @ constant + bias2 * gain3 + bias3
    if dense:
        kernel = torch.einsum(
            'om,mxy,mi->oixy', exit_[:, :, 0, 0], depthwise.weight[:, 0], entry[:, :, 0, 0]
        )
        return _conv(kernel, bias, 1)
    return FactoredRepConv(
        _conv(entry, None, 1), _conv(depthwise.weight, None, len(entry)), _conv(exit_, bias, 1)
    )


def _conv(weight: Tensor, bias: Tensor | None, groups: int) -> nn.Conv2d:
    outputs, inputs, kernel, _ = weight.shape
    conv = nn.Conv2d(
        inputs * groups,
        outputs,
        kernel,
        padding=kernel // 2,
        groups=groups,
        bias=bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    conv.weight.copy_(weight)
    if bias is not None:
        assert conv.bias is not None
        conv.bias.copy_(bias)
    return conv


def _move_mask_weights(head: DecodeHead) -> None:
    """Multiply the queries instead of each pixel by the weights of the mask features.

    <e, W f + b> = <W^T e, f> + <e, b>.
    """
    conv: Any = head.pixel_decoder.mask_feature
    width = conv.out_channels
    projection = SpikeLinear(
        width, width + 1, bias=False, device=conv.weight.device, dtype=conv.weight.dtype
    )
    weight = conv.weight[:, :, 0, 0].transpose(0, 1)
    projection.weight.copy_(torch.cat([weight, conv.bias[None]]))
    head.mask_projection = projection
    head.pixel_decoder.mask_feature = nn.Identity()
