# SPDX-License-Identifier: Apache-2.0
"""SpikeSEG decoder: from class spikes back to the pixels, whole frames at once.

The decoder runs the encoder's weights backwards: transposed convolution, unpooling at the
winners of each step, and so on down to the image. `segment` adds what the record of the window
knows, so that only spikes that really charged a class neuron are followed; its mask is the union
of the masks that HULK finds one by one (`spikeseg_ros.spiking.unravel`).

Sources: Kirkland et al. 2020 (decoder), 2022 (HULK).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from spikeseg_ros.models.encoder import SpikeSEGEncoder
    from spikeseg_ros.models.output import EncoderOutput, PoolingIndices


class DecoderError(ValueError):
    """Spikes and indices do not fit the network; the text says which and what to do."""


class Segmentation(NamedTuple):
    """Pixels and input spikes behind the class spikes of a window.

    Attributes:
        mask: Pixels by class, shape (B, n_classes, H, W), bool.
        events: Input spikes by step, over all classes, shape (T, B, C_in, H, W), bool.
    """

    mask: Tensor
    events: Tensor


class SpikeSEGDecoder(nn.Module):
    """Mirror of an encoder: conv3, pool2, conv2, pool1, conv1 backwards.

    Attributes:
        pool_kernels: Kernels of pool1, pool2.
        pool_strides: Strides of pool1, pool2.
    """

    weight1: Tensor
    weight2: Tensor
    weight3: Tensor

    def __init__(
        self,
        weights: tuple[Tensor, Tensor, Tensor],
        pool_kernels: tuple[int, int] = (2, 2),
        pool_strides: tuple[int, int] = (2, 2),
    ) -> None:
        """Build a decoder from the weights of an encoder; `from_encoder` is shorter.

        Args:
            weights: Of conv1, conv2, conv3, each of shape (out, in, kernel, kernel).
            pool_kernels: Kernels of pool1, pool2.
            pool_strides: Strides of pool1, pool2.
        """
        super().__init__()
        for number, weight in enumerate(weights, 1):
            self.register_buffer(f'weight{number}', weight.detach().clone())
        self.pool_kernels = pool_kernels
        self.pool_strides = pool_strides

    @classmethod
    def from_encoder(cls, encoder: SpikeSEGEncoder) -> SpikeSEGDecoder:
        """Return the decoder of an encoder, with a copy of its present weights."""
        params = encoder.params()
        return cls(params.weights, params.pool_kernels, params.pool_strides)

    def forward(self, classification_spikes: Tensor, pooling_indices: PoolingIndices) -> Tensor:
        """Return graded saliency: how strongly the weights connect pixels with class spikes.

        Nothing is gated by what fired before; see `segment` for causes.

        Args:
            classification_spikes: Shape (T, B, n_classes, H2, W2).
            pooling_indices: Winners by step (5-D), or one set (4-D, without T) for all steps.

        Returns:
            Saliency of every step, shape (T, B, 1, H, W), float32.

        Raises:
            DecoderError: Shapes do not fit.
        """
        if classification_spikes.ndim != 5:
            msg = (
                f'classification_spikes must have the shape (T, B, n_classes, H, W), got '
                f'{tuple(classification_spikes.shape)!r}.'
            )
            raise DecoderError(msg)
        activity = classification_spikes.float()
        with torch.no_grad():
            activity = self._unpool(_transposed(activity, self.weight3), pooling_indices, 1)
            activity = self._unpool(_transposed(activity, self.weight2), pooling_indices, 0)
            return _transposed(activity, self.weight1).sum(dim=2, keepdim=True)

    def _unpool(self, activity: Tensor, indices: PoolingIndices, pool: int) -> Tensor:
        """Put every value where its window's winner was; silent windows give nothing."""
        index = indices.pool1_indices if pool == 0 else indices.pool2_indices
        size = indices.pool1_output_size if pool == 0 else indices.pool2_output_size
        if index.ndim == 4:
            index = index.unsqueeze(0).expand(activity.shape[0], *index.shape)
        if index.shape != activity.shape:
            msg = (
                f'pool{pool + 1}_indices need the shape {tuple(activity.shape)!r} (or without '
                f'steps), got {tuple(index.shape)!r}; use those of the same window.'
            )
            raise DecoderError(msg)
        flat = index.flatten(3)
        cells = size[-2] * size[-1]
        if bool((flat >= cells).any()):
            msg = f'pool{pool + 1}_indices point outside a map of {size[-2]} x {size[-1]}.'
            raise DecoderError(msg)
        value = activity.flatten(3).masked_fill(flat < 0, 0)
        result = torch.zeros(*flat.shape[:3], cells, device=activity.device)
        # Overlapping windows may share a winner; each of them counts.
        result.scatter_add_(3, flat.clamp(min=0), value)
        return result.view(*flat.shape[:3], size[-2], size[-1])

    def segment(self, output: EncoderOutput, threshold: float = 0.5) -> Segmentation:
        """Return the pixels that caused the class spikes of a window.

        The sets of `unravel_dense` in mode 'causal', for all class spikes together: being a
        cause is a relation between two spikes, so the union over class spikes may be followed
        as one.

        Args:
            output: Output of the encoder for the window.
            threshold: Weights above it count as connections.
        """
        record = output.record
        with torch.no_grad():
            masks, events = [], torch.zeros_like(output.input_spikes, dtype=torch.bool)
            for k in range(record.conv3.spikes.shape[2]):
                only = torch.zeros_like(record.conv3.spikes)
                only[:, :, k] = record.conv3.spikes[:, :, k]
                found = self._causes(output, only, threshold)
                masks.append(found.any(dim=0).any(dim=1))
                events |= found
            return Segmentation(torch.stack(masks, dim=1), events)

    def _causes(self, output: EncoderOutput, classes: Tensor, threshold: float) -> Tensor:
        """Return the input spikes behind class spikes, shape (T, B, C_in, H, W), bool."""
        record = output.record
        charged = spans(classes, record.conv3.since)
        passed = _reached(charged, self.weight3, threshold) & record.pool2.spikes
        charged = self._unpool_spans(passed, output, 1)
        passed = _reached(charged, self.weight2, threshold) & record.pool1.spikes
        charged = self._unpool_spans(passed, output, 0)
        return _reached(charged, self.weight1, threshold) & (output.input_spikes != 0)

    def _unpool_spans(self, passed: Tensor, output: EncoderOutput, pool: int) -> Tensor:
        """Return in which steps the spikes behind pooled ones were charged."""
        geometry = output.geometry
        record = output.record.pool1 if pool == 0 else output.record.pool2
        size = (geometry.height, geometry.width) if pool == 0 else geometry.pool1_size
        where = passed.nonzero(as_tuple=True)
        offset = record.offsets[where].long() - 1
        kernel, stride = self.pool_kernels[pool], self.pool_strides[pool]
        rows, columns = where[3] * stride + offset // kernel, where[4] * stride + offset % kernel
        site = (*where[:3], rows, columns)
        spikes = torch.zeros(*passed.shape[:3], *size, dtype=torch.bool, device=passed.device)
        since = torch.zeros_like(spikes, dtype=torch.int16)
        spikes[site] = True
        since[site] = record.since[where]
        return spans(spikes, since)


def spans(spikes: Tensor, since: Tensor) -> Tensor:
    """Return in which steps each neuron was collecting the charge of one of the given spikes.

    Args:
        spikes: Shape (T, ...), bool.
        since: First step of the charge of each spike, same shape.

    Returns:
        True at step t where a spike at t' has since <= t <= t'; same shape, bool.
    """
    result = torch.zeros_like(spikes)
    for end in range(spikes.shape[0]):
        for t in range(end + 1):
            result[t] |= spikes[end] & (since[end] <= t)
    return result


def _transposed(activity: Tensor, weight: Tensor) -> Tensor:
    """Transposed "same" convolution of (T, B, C, H, W)."""
    folded = F.conv_transpose2d(activity.flatten(0, 1), weight, padding=weight.shape[-1] // 2)
    return folded.view(*activity.shape[:2], *folded.shape[1:])


def _reached(charged: Tensor, weight: Tensor, threshold: float) -> Tensor:
    """Return the inputs that any of the given neurons has a connection to."""
    connected = (weight > threshold).float()
    # Whole numbers: .5 tells none from one however the convolution is computed.
    return _transposed(charged.float(), connected) > 0.5
