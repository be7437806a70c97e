# SPDX-License-Identifier: Apache-2.0
"""Spike2Former: spiking semantic segmentation of images with queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.backbones import Backbone
from spikeseg_ros.models.spike2former.binary import binary
from spikeseg_ros.models.spike2former.blocks import wide
from spikeseg_ros.models.spike2former.config import Spike2FormerConfig, Spike2FormerConfigError
from spikeseg_ros.models.spike2former.folding import folded
from spikeseg_ros.models.spike2former.head import DecodeHead
from spikeseg_ros.models.spike2former.neurons import Neuron, Pass
from spikeseg_ros.spiking.energy import count_product

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# Rows of the image whose masks are enlarged at a time.
ROWS = 8


class Spike2FormerOutput(NamedTuple):
    """What a frame produced; n is L + 1, or 1 for the last layer only.

    Attributes:
        class_logits: (n, B, Q, K + 1); the last class is "no object".
        mask_logits: (n, B, Q, ceil(H / 2), ceil(W / 2)).
        state: v of each neuron layer behind the frame; empty unless asked for.
    """

    class_logits: Tensor
    mask_logits: Tensor
    state: tuple[Tensor, ...]


class Spike2Former(nn.Module):
    """The network; names of parameters and buffers are the published ones.

    A frame keeps nothing: the next one begins with neurons at rest, unless a state is handed
    over. The T repeats of an image in the published code are identical and mean the same, so they
    are computed once.

    Args:
        config: Shape and neurons.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.config = config
        # Here, so that no frame waits for a copy to its device.
        for name, values in (('mean', config.mean), ('std', config.std)):
            shaped = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, shaped, persistent=False)
        self.backbone = Backbone(config)
        self.decode_head = DecodeHead(config)
        for number, neuron in enumerate(self.neuron_layers().values()):
            neuron.number = number
        for name, module in self.named_modules():
            if hasattr(module, 'label'):
                module.label = name

    def neuron_layers(self) -> dict[str, Neuron]:
        """Return the layers of neurons by their published names, in the order of a state."""
        return {
            name: module for name, module in self.named_modules() if isinstance(module, Neuron)
        }

    def parameter_count(self) -> int:
        """Return the number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def energy_layers(self) -> list[tuple[str, nn.Module, int | None]]:
        """Return name, layer and largest spike count of its input; None where that is real."""
        real = {
            f'{name}.{part}'
            for name, module in self.named_modules()
            for part in getattr(module, 'real_inputs', ())
        }
        result: list[tuple[str, nn.Module, int | None]] = []
        for name, module in self.named_modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                config = self.config
                levels = config.backbone_levels if name.startswith('backbone.') else config.levels
                result.append((name, module, None if name in real else levels))
        return result

    def normalised(self, images: Tensor) -> Tensor:
        """Return RGB images (B, 3, H, W), uint8 or 0 .. 255, as the network wants them."""
        return (images.float() - self.mean.float()) / self.std.float()

    def forward(
        self,
        x: Tensor,
        state: Sequence[Tensor] | None = None,
        *,
        keep: bool = False,
        last_only: bool = False,
        rounding: float = 1.0,
    ) -> Spike2FormerOutput:
        """Segment images.

        Args:
            x: Normalised images (B, 3, H, W), any size.
            state: State to go on from, as an earlier call returned it with the same `last_only`
                for images of the same size; neurons at rest where None.
            keep: Return the state behind the frame; always so where a state is given.
            last_only: Evaluate the last layer's queries only.
            rounding: How far counts of spikes are rounded; 1 outside of training.

        Raises:
            Spike2FormerConfigError: The input does not fit the network.
            NeuronError: The state does not fit the input.
        """
        self._check(x, state)
        run = Pass(state, keep or state is not None, rounding=rounding)
        classes, masks = self.decode_head(self.backbone(x, run), run, last_only)
        carried = tuple(run.carried[number] for number in sorted(run.carried))
        return Spike2FormerOutput(classes, masks, carried)

    def logits(self, x: Tensor, rounding: float = 1.0) -> Tensor:
        """Return segmentation logits (B, K, H, W) of normalised images (B, 3, H, W)."""
        output = self(x, last_only=True, rounding=rounding)
        return semantic(output.class_logits[-1], output.mask_logits[-1], x.shape[2:])

    def folded(self, *, dense: bool = False) -> Spike2Former:
        """Return a copy for inference that gives the same results up to rounding.

        Normalisations lie inside their convolutions, and the weights of the mask features on
        the side of the queries.

        Args:
            dense: Make one dense convolution of each `RepConv`, so that every convolution behind
                the first sees spikes; otherwise three parts, which take a fifth of the products.
        """
        return folded(self, dense)

    def binary(self) -> Spike2Former:
        """Return a copy for inference in which weights meet spikes of 0 and 1 only.

        Each layer that sees spikes runs once for each of the D binary sub-steps of a count, with
        a D-th of its weights; the results are the same up to rounding. It shows what hardware for
        events would do, and is slow.
        """
        return binary(self)

    def load_published(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take the weights of a published state dictionary.

        Raises:
            Spike2FormerConfigError: A key is missing or unexpected, or a shape differs.
        """
        own = self.state_dict()
        missing = sorted(set(own) - set(state_dict))
        unexpected = sorted(set(state_dict) - set(own))
        shapes = [
            f'{name} {tuple(state_dict[name].shape)!r} instead of {tuple(value.shape)!r}'
            for name, value in own.items()
            if name in state_dict and state_dict[name].shape != value.shape
        ]
        problems = [
            f'{len(names)} {kind}: {", ".join(names[:5])}{" ..." if len(names) > 5 else ""}'
            for kind, names in (
                ('missing', missing),
                ('unexpected', unexpected),
                ('of another shape', shapes),
            )
            if names
        ]
        if problems:
            msg = (
                f'The weights do not fit the configuration: {"; ".join(problems)}. Build the '
                f'network with the configuration that the weights were trained with.'
            )
            raise Spike2FormerConfigError(msg)
        self.load_state_dict(dict(state_dict))

    def _check(self, x: Tensor, state: Sequence[Tensor] | None) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point() or 0 in x.shape:
            msg = f'The network takes normalised images (B, 3, H, W), got {tuple(x.shape)!r}.'
            raise Spike2FormerConfigError(msg)
        if state is not None and len(state) != len(self.neuron_layers()):
            msg = (
                f'A state of this network has {len(self.neuron_layers())} tensors, got '
                f'{len(state)}; pass on what an earlier call returned.'
            )
            raise Spike2FormerConfigError(msg)


def semantic(classes: Tensor, masks: Tensor, size: Sequence[int]) -> Tensor:
    """Return segmentation logits (B, K, H, W): masks weighted by the classes of their queries.

    Args:
        classes: Class logits (B, Q, K + 1).
        masks: Mask logits (B, Q, h, w).
        size: H and W.
    """
    macs = masks[..., 0, 0].numel() * (classes.shape[-1] - 1) * size[0] * size[1]
    count_product('semantic', 'mask product', macs, None)
    shares = classes.softmax(-1)[..., :-1].transpose(1, 2)
    if masks.device.type == 'cpu' and not torch.is_grad_enabled():
        return _semantic_rows(shares, wide(masks), (size[0], size[1]))
    masks = F.interpolate(masks, size=tuple(size), mode='bilinear', align_corners=False)
    return torch.einsum('bkq,bqhw->bkhw', shares, masks.sigmoid())


def _semantic_rows(shares: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Do what `semantic` does, some rows at a time, so that enlarged masks stay in the cache.

    Args:
        shares: Class probabilities (B, K, Q).
        masks: Mask logits (B, Q, h, w).
        size: H and W.
    """
    batch, queries, rows, _ = masks.shape
    height, width = size
    result = masks.new_empty(batch, shares.shape[1], height, width)
    place = (torch.arange(height, dtype=masks.dtype) + 0.5) * (rows / height) - 0.5
    place = place.clamp(min=0)
    above = place.long().clamp(max=rows - 1)
    below = (above + 1).clamp(max=rows - 1)
    share = (place - above).view(-1, 1)
    for first in range(0, height, ROWS):
        part = slice(first, first + ROWS)
        seen = torch.lerp(masks[:, :, above[part]], masks[:, :, below[part]], share[part])
        count = seen.shape[2]
        seen = F.interpolate(seen, size=(count, width), mode='bilinear', align_corners=False)
        summed = shares @ seen.sigmoid_().view(batch, queries, count * width)
        result[:, :, part] = summed.view(batch, -1, count, width)
    return result
