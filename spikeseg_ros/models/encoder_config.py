# SPDX-License-Identifier: Apache-2.0
"""Shape and neurons of a SpikeSEG network, and the presets of the papers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from spikeseg_ros.spiking.neurons import LEAK_MODES
from spikeseg_ros.spiking.trace import ChainGeometry

CONV_LAYERS = ('conv1', 'conv2', 'conv3')
THRESHOLD_SCALES = ('absolute', 'l1')
CONV1_FILTERS = ('gabor', 'dog', 'random')
MAX_POOL_KERNEL = 15


class EncoderConfigError(ValueError):
    """The network cannot be built as configured; the text says which value and what to do."""


@dataclass(frozen=True)
class LayerConfig:
    """One spiking convolution (stride 1, padding kernel_size // 2).

    Attributes:
        out_channels: Number of maps.
        kernel_size: Edge of the kernel, odd.
        threshold: Firing threshold theta; with threshold_scale 'l1' its share of the largest
            current one step can bring.
        leak: Charge lost in every step; with threshold_scale 'l1' its share of theta; with
            leak_mode 'multiplicative' the share of V.
        leak_mode: 'subtractive', 'multiplicative' or 'none'.
        threshold_scale: 'absolute', or 'l1': theta of a map = threshold * sum of its positive
            weights (of ONE input channel in conv1, where all channels carry the same kernel and
            hardly ever fire together).
        fire_once: Neurons fire at most once in a window.
        competition: Only the map with the largest V / theta fires at a position.
    """

    out_channels: int
    kernel_size: int
    threshold: float = 10.0
    leak: float = 0.0
    leak_mode: str = 'subtractive'
    threshold_scale: str = 'absolute'
    fire_once: bool = False
    competition: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no layer can have."""
        if not _is_int(self.out_channels) or self.out_channels < 1:
            msg = f'out_channels must be an integer >= 1, got {self.out_channels!r}.'
            raise EncoderConfigError(msg)
        if not _is_int(self.kernel_size) or self.kernel_size < 1 or self.kernel_size % 2 == 0:
            msg = f'kernel_size must be odd and >= 1, got {self.kernel_size!r}.'
            raise EncoderConfigError(msg)
        if self.leak_mode not in LEAK_MODES:
            msg = f'Unknown leak_mode {self.leak_mode!r}; use one of {", ".join(LEAK_MODES)}.'
            raise EncoderConfigError(msg)
        if self.threshold_scale not in THRESHOLD_SCALES:
            msg = (
                f'Unknown threshold_scale {self.threshold_scale!r}; use one of '
                f'{", ".join(THRESHOLD_SCALES)}.'
            )
            raise EncoderConfigError(msg)
        if not (math.isfinite(self.threshold) and self.threshold > 0):
            msg = f'threshold must be finite and > 0, got {self.threshold!r}.'
            raise EncoderConfigError(msg)
        high = 1.0 if self.leak_mode == 'multiplicative' else math.inf
        if not (math.isfinite(self.leak) and 0 <= self.leak <= high):
            msg = f'leak must be finite and within 0 .. {high}, got {self.leak!r}.'
            raise EncoderConfigError(msg)
        if self.leak_mode == 'none' and self.leak != 0:
            msg = f"leak_mode 'none' has no leak, got leak={self.leak!r}; set it to 0."
            raise EncoderConfigError(msg)


def _is_int(value: object) -> bool:
    """Tell integers from booleans and floats."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class EncoderConfig:
    """The chain conv1 - pool1 - conv2 - pool2 - conv3.

    Attributes:
        conv1: First spiking convolution, fixed filters.
        conv2: Second spiking convolution, features.
        conv3: Third spiking convolution, one map for each class.
        input_channels: Channels of the input: 2 for both polarities, 1 for frames.
        pool1_kernel_size: Edge of the window of pool1.
        pool1_stride: Distance of the windows of pool1.
        pool2_kernel_size: Edge of the window of pool2.
        pool2_stride: Distance of the windows of pool2.
        conv1_filters: 'gabor' (clipped), 'dog' (signed ON / OFF pair) or 'random'.
        seed: Seed of the random initial weights.
        name: Preset the configuration came from.
    """

    conv1: LayerConfig = field(default_factory=lambda: LayerConfig(4, 5, leak=9.0))
    conv2: LayerConfig = field(default_factory=lambda: LayerConfig(36, 5, leak=1.0))
    conv3: LayerConfig = field(default_factory=lambda: LayerConfig(1, 7))
    input_channels: int = 1
    pool1_kernel_size: int = 2
    pool1_stride: int = 2
    pool2_kernel_size: int = 2
    pool2_stride: int = 2
    conv1_filters: str = 'gabor'
    seed: int = 0
    name: str = 'custom'

    def __post_init__(self) -> None:
        """Refuse values that no network can have."""
        if not _is_int(self.input_channels) or self.input_channels < 1:
            msg = f'input_channels must be an integer >= 1, got {self.input_channels!r}.'
            raise EncoderConfigError(msg)
        for pool in ('pool1', 'pool2'):
            kernel, stride = getattr(self, f'{pool}_kernel_size'), getattr(self, f'{pool}_stride')
            if not _is_int(kernel) or not 1 <= kernel <= MAX_POOL_KERNEL:
                msg = (
                    f'{pool}_kernel_size must be an integer 1 .. {MAX_POOL_KERNEL}, got '
                    f'{kernel!r}.'
                )
                raise EncoderConfigError(msg)
            if not _is_int(stride) or not 1 <= stride <= kernel:
                msg = (
                    f'{pool}_stride must be an integer 1 .. {kernel} (its kernel), got {stride!r}.'
                )
                raise EncoderConfigError(msg)
        if self.conv1_filters not in CONV1_FILTERS:
            msg = (
                f'Unknown conv1_filters {self.conv1_filters!r}; use one of '
                f'{", ".join(CONV1_FILTERS)}.'
            )
            raise EncoderConfigError(msg)

    @property
    def layers(self) -> tuple[LayerConfig, LayerConfig, LayerConfig]:
        """The three spiking convolutions in order."""
        return self.conv1, self.conv2, self.conv3

    @property
    def n_classes(self) -> int:
        """Number of class maps."""
        return self.conv3.out_channels

    def geometry(self, height: int, width: int) -> ChainGeometry:
        """Return the sizes of the chain for an input of height x width pixels."""
        first, second, third = self.layers
        return ChainGeometry(
            height,
            width,
            (
                self.input_channels,
                first.out_channels,
                second.out_channels,
                third.out_channels,
            ),
            (first.kernel_size, second.kernel_size, third.kernel_size),
            (self.pool1_kernel_size, self.pool2_kernel_size),
            (self.pool1_stride, self.pool2_stride),
        )

    @classmethod
    def from_paper(
        cls,
        paper: str = 'default',
        n_classes: int = 1,
        input_channels: int | None = None,
        seed: int | None = None,
    ) -> EncoderConfig:
        """Return a preset.

        * 'igarss2023': literal numbers of Kirkland et al. 2023 as published in the encoder
          document (thresholds 10, leaks 9 / 1 / 0, pools 2x2). Stays silent on event data.
        * 'igarss2023-scaled': the same leak shares with thresholds that scale with the weights.
        * 'spikeseg': the 2020 / 2022 network without leaks, pool1 7x7 with stride 6. Aliases:
          'spikeseg2020', 'hulk2022', 'hulksmash', 'hulk-smash'.
        * 'default': recommended for event cameras; both polarities, leak shares .1 / .1 / 0,
          competition between the maps of conv2, class neurons fire once in a window.

        Args:
            paper: Preset, upper or lower case.
            n_classes: Number of class maps.
            input_channels: Replaces the preset's number of input channels.
            seed: Replaces the seed of the random initial weights.

        Raises:
            EncoderConfigError: Unknown name, or n_classes < 1.
        """
        key = _ALIASES.get(str(paper).lower(), str(paper).lower())
        if key not in _PRESETS:
            known = ', '.join([*_PRESETS, *_ALIASES])
            msg = f'Unknown preset {paper!r}; known: {known}.'
            raise EncoderConfigError(msg)
        if not _is_int(n_classes) or n_classes < 1:
            msg = f'n_classes must be an integer >= 1, got {n_classes!r}.'
            raise EncoderConfigError(msg)
        preset = _PRESETS[key]
        return replace(
            preset,
            conv3=replace(preset.conv3, out_channels=n_classes),
            input_channels=preset.input_channels if input_channels is None else input_channels,
            seed=preset.seed if seed is None else seed,
        )


_ALIASES = {
    'spikeseg2020': 'spikeseg',
    'hulk2022': 'spikeseg',
    'hulksmash': 'spikeseg',
    'hulk-smash': 'spikeseg',
}

_PRESETS = {
    'igarss2023': EncoderConfig(name='igarss2023'),
    'igarss2023-scaled': EncoderConfig(
        LayerConfig(4, 5, 0.2, 0.9, threshold_scale='l1'),
        LayerConfig(36, 5, 0.1, 0.1, threshold_scale='l1'),
        LayerConfig(1, 7, 0.1, 0.0, threshold_scale='l1'),
        name='igarss2023-scaled',
    ),
    'spikeseg': EncoderConfig(
        LayerConfig(4, 5, 0.4, 0.0, threshold_scale='l1'),
        LayerConfig(36, 5, 0.2, 0.0, threshold_scale='l1'),
        LayerConfig(1, 7, 0.2, 0.0, threshold_scale='l1'),
        pool1_kernel_size=7,
        pool1_stride=6,
        name='spikeseg',
    ),
    # theta3 of an untrained network; training replaces it by a calibrated one.
    'default': EncoderConfig(
        LayerConfig(4, 5, 0.4, 0.1, threshold_scale='l1'),
        LayerConfig(36, 5, 10.0, 1.0, competition=True),
        LayerConfig(1, 7, 40.0, 0.0, fire_once=True),
        input_channels=2,
        name='default',
    ),
}
