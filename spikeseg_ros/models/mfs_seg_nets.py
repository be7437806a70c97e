# SPDX-License-Identifier: Apache-2.0
"""The two layouts of MFS-Seg style networks: a U-shape and the published MIMO skeleton.

The authors of MFS-Seg (Neural Networks 176, 2024) have not published their network. `Mimo` follows
what is known of it: three image scales in, three out, EFS-Res blocks, a neuron in front of every
convolution but the first of each scale. `UShape` keeps the neurons and the three outputs, begins
its pyramid one octave lower and adds its skips, which makes it many times cheaper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg_blocks import GAIN, EfsResBlock, Pass, RepBlock, Unit
from spikeseg_ros.spiking.surrogate import SurrogateParams

if TYPE_CHECKING:
    from spikeseg_ros.models.mfs_seg_config import MfsSegConfig


class Group(nn.Module):
    """Residual blocks one after another.

    Args:
        config: The network.
        channels: Maps.
        count: Number of blocks.
        dilations: Dilation of each block, repeated as needed.
    """

    def __init__(
        self, config: MfsSegConfig, channels: int, count: int, dilations: tuple[int, ...] = (1,)
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for index in range(count):
            dilation = dilations[index % len(dilations)]
            if config.block == 'rep':
                self.blocks.append(RepBlock(channels, config.params, dilation))
            else:
                self.blocks.append(
                    EfsResBlock(channels, config.params, config.expansion, dilation)
                )

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x."""
        for block in self.blocks:
            x = block(x, run)
        return x


def _repeat(x: Tensor, times: int) -> Tensor:
    """Show a real-valued map in each of several steps."""
    return x if times == 1 else x.repeat(times, 1, 1, 1)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """Bring potentials to the size of another map by copying the nearest."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='nearest')


class UShape(nn.Module):
    """Levels at 1/2, 1/4, 1/8 and 1/16 with added skips; logits at 1/8, 1/4 and 1/2.

    Args:
        config: Shape and neurons.
    """

    scales = (8, 4, 2)
    multiple = 1

    def __init__(self, config: MfsSegConfig) -> None:
        super().__init__()
        widths, params = config.widths, config.params
        gain = GAIN[params.kind]
        last = len(widths) - 1
        self.stem = Unit(config.input_channels, widths[0], 3, None, stride=2, gain=gain)
        if config.events:
            self.stem.levels = params.sub_steps
        self.down = nn.ModuleList(
            Unit(widths[i], widths[i + 1], 3, params, stride=2, gain=gain) for i in range(last)
        )
        self.encoder = nn.ModuleList(
            Group(config, width, depth, config.dilations if i == last else (1,))
            for i, (width, depth) in enumerate(zip(widths, config.depths, strict=True))
        )
        order = range(last - 1, -1, -1)
        self.up = nn.ModuleList(
            Unit(widths[i + 1], widths[i], 1, params, gain=gain) for i in order
        )
        self.decoder = nn.ModuleList(Group(config, widths[i], 1) for i in order)
        self.heads = nn.ModuleList(
            Unit(widths[i], config.classes, 1, params, gain=None) for i in order
        )

    def forward(self, x: Tensor, run: Pass, repeat: int) -> list[Tensor]:
        """Return logits of each scale, the coarsest first, shape (T * B, classes, h, w).

        Args:
            x: Images (B, C, H, W) shown `repeat` times, or event frames (T * B, C, H, W).
            run: The pass.
            repeat: T for images, 1 for event frames.
        """
        z = _repeat(self.stem(x, run), repeat)
        skips = []
        for index, group in enumerate(self.encoder):
            if index:
                z = self.down[index - 1](z, run)
            z = group(z, run)
            skips.append(z)
        logits = []
        skips.pop()
        for up, group, head in zip(self.up, self.decoder, self.heads, strict=True):
            skip = skips.pop()
            z = group(skip + _resized(up(z, run), skip), run)
            logits.append(head(z, run))
        return logits


class _Scm(nn.Module):
    """Features of a downsampled image, next to the image itself."""

    def __init__(self, channels: int, width: int, params: SurrogateParams) -> None:
        super().__init__()
        gain = GAIN[params.kind]
        self.first = Unit(channels, width // 4, 3, None, gain=gain)
        self.rest = nn.ModuleList(
            [
                Unit(width // 4, width // 2, 1, params, gain=gain),
                Unit(width // 2, width // 2, 3, params, gain=gain),
                Unit(width // 2, width - channels, 1, params, gain=gain),
            ]
        )
        self.mix = Unit(width, width, 1, params, gain=gain)

    def forward(self, x: Tensor, run: Pass, repeat: int) -> Tensor:
        z = _repeat(self.first(x, run), repeat)
        for unit in self.rest:
            z = unit(z, run)
        mixed: Tensor = self.mix(torch.cat([_repeat(x, repeat), z], dim=1), run)
        return mixed


class _Fam(nn.Module):
    """a + BN(conv(S(a) AND S(z))).

    The product of two spike counts would be no accumulation, so these neurons are binary.
    """

    def __init__(self, width: int, params: SurrogateParams) -> None:
        super().__init__()
        from spikeseg_ros.models.mfs_seg_blocks import Neurons

        binary = params._replace(levels=1)
        self.left, self.right = Neurons(binary), Neurons(binary)
        self.unit = Unit(width, width, 3, None, gain=GAIN[params.kind])
        self.unit.levels = 1

    def forward(self, a: Tensor, z: Tensor, run: Pass) -> Tensor:
        both = self.left(a, run) * self.right(z, run)
        mixed: Tensor = self.unit(both, run)
        return a + mixed


class _Aff(nn.Module):
    """All encoder scales at one size, mixed."""

    def __init__(self, total: int, width: int, params: SurrogateParams) -> None:
        super().__init__()
        gain = GAIN[params.kind]
        self.units = nn.ModuleList(
            [Unit(total, width, 1, params, gain=gain), Unit(width, width, 3, params, gain=gain)]
        )

    def forward(self, maps: list[Tensor], like: Tensor, run: Pass) -> Tensor:
        z = torch.cat([_resized(item, like) for item in maps], dim=1)
        for unit in self.units:
            z = unit(z, run)
        return z


class Mimo(nn.Module):
    """The published skeleton: three image scales in, logits at 1/4, 1/2 and 1/1 out.

    Args:
        config: Shape and neurons.
    """

    scales = (4, 2, 1)
    multiple = 4

    def __init__(self, config: MfsSegConfig) -> None:
        super().__init__()
        (w1, w2, w3), params, channels = config.widths, config.params, config.input_channels
        gain = GAIN[params.kind]
        n1, n2, n3 = config.depths
        self.stem = Unit(channels, w1, 3, None, gain=gain)
        self.down = nn.ModuleList(
            [
                Unit(w1, w2, 3, params, stride=2, gain=gain),
                Unit(w2, w3, 3, params, stride=2, gain=gain),
            ]
        )
        sides = [_Scm(channels, w2, params), _Scm(channels, w3, params)]
        self.scm = nn.ModuleList(sides)
        if config.events:
            for reader in (self.stem, *(side.first for side in sides)):
                reader.levels = params.sub_steps
        self.fam = nn.ModuleList([_Fam(w2, params), _Fam(w3, params)])
        self.encoder = nn.ModuleList(
            [Group(config, w1, n1), Group(config, w2, n2), Group(config, w3, n3)]
        )
        self.aff = nn.ModuleList([_Aff(w1 + w2 + w3, w2, params), _Aff(w1 + w2 + w3, w1, params)])
        self.decoder = nn.ModuleList(
            [Group(config, w3, n3), Group(config, w2, n2), Group(config, w1, n1)]
        )
        self.up = nn.ModuleList(
            [
                Unit(w3, w2, 4, params, stride=2, gain=gain, transposed=True),
                Unit(w2, w1, 4, params, stride=2, gain=gain, transposed=True),
            ]
        )
        self.mix = nn.ModuleList(
            [Unit(2 * w2, w2, 1, params, gain=gain), Unit(2 * w1, w1, 1, params, gain=gain)]
        )
        self.heads = nn.ModuleList(
            Unit(width, config.classes, 3, params, gain=None) for width in (w3, w2, w1)
        )

    def forward(self, x: Tensor, run: Pass, repeat: int) -> list[Tensor]:
        """Return logits of each scale, the coarsest first, shape (T * B, classes, h, w).

        Args:
            x: Images (B, C, H, W) shown `repeat` times, or event frames (T * B, C, H, W); H and
                W are multiples of 4.
            run: The pass.
            repeat: T for images, 1 for event frames.
        """
        encoded = [self.encoder[0](_repeat(self.stem(x, run), repeat), run)]
        for index in range(2):
            # Every second, every fourth pixel: the nearest of the smaller grid.
            seen = x[..., :: 2 << index, :: 2 << index].contiguous()
            side = self.scm[index](seen, run, repeat)
            below = self.fam[index](self.down[index](encoded[-1], run), side, run)
            encoded.append(self.encoder[index + 1](below, run))
        z = self.decoder[0](encoded[2], run)
        logits = [self.heads[0](z, run)]
        for index in range(2):
            skip = self.aff[index](encoded, encoded[1 - index], run)
            joined = torch.cat([self.up[index](z, run), skip], dim=1)
            z = self.decoder[index + 1](self.mix[index](joined, run), run)
            logits.append(self.heads[index + 1](z, run))
        return logits
