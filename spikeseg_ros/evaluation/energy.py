# SPDX-License-Identifier: Apache-2.0
"""Activity and energy of spiking networks, layer by layer.

Convention: a convolution of real values costs one multiply-accumulate (MAC) for each weight and
output, one of spikes one accumulate (AC) for each spike and weight it reaches::

    ACs = dense MACs of all time steps * mean spike count of an input value in a step

A spike count k (integer neurons) is k binary spikes, so the D sub-steps are in the count and not
multiplied again; T steps are in the dense MACs and not multiplied again. Biases and what neurons
themselves do are left out, as usual. Energies are those of 32-bit arithmetic at 45 nm: 4.6 pJ a
MAC, 0.9 pJ an AC (Horowitz 2014). They compare networks; no chip was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg_blocks import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spikeseg_ros.models.mfs_seg import MfsSeg

MAC_PICOJOULE = 4.6
AC_PICOJOULE = 0.9


@dataclass(frozen=True)
class LayerEnergy:
    """What one layer did for one frame.

    Attributes:
        name: Name of the layer.
        macs: Multiply-accumulates of a dense layer, over all time steps.
        rate: Mean spike count of an input value in a time step; None where the layer reads real
            values.
        active: Share of input values that are not 0.
    """

    name: str
    macs: float
    rate: float | None
    active: float

    @property
    def acs(self) -> float:
        """Accumulates; 0 where the layer reads real values."""
        return 0.0 if self.rate is None else self.macs * self.rate

    @property
    def real_macs(self) -> float:
        """Multiply-accumulates that remain: all where the layer reads real values."""
        return self.macs if self.rate is None else 0.0

    @property
    def picojoule(self) -> float:
        """Energy [pJ]."""
        return self.real_macs * MAC_PICOJOULE + self.acs * AC_PICOJOULE


@dataclass(frozen=True)
class EnergyReport:
    """What a network did for one frame.

    Attributes:
        layers: Its layers, in order of execution.
    """

    layers: tuple[LayerEnergy, ...]

    @property
    def macs(self) -> float:
        """MACs of real values."""
        return sum(layer.real_macs for layer in self.layers)

    @property
    def acs(self) -> float:
        """Accumulates."""
        return sum(layer.acs for layer in self.layers)

    @property
    def millijoule(self) -> float:
        """Energy [mJ]."""
        return sum(layer.picojoule for layer in self.layers) * 1e-9

    @property
    def dense_millijoule(self) -> float:
        """Energy [mJ] of the same layers on real values in one step: an ordinary network."""
        return sum(layer.macs for layer in self.layers) * MAC_PICOJOULE * 1e-9

    @property
    def rate(self) -> float:
        """Mean spike count of the inputs of spiking layers, weighted by their MACs."""
        total = sum(layer.macs for layer in self.layers if layer.rate is not None)
        return self.acs / total if total else 0.0

    def lines(self) -> list[str]:
        """Return a table."""
        width = max([len(layer.name) for layer in self.layers], default=5)
        rows = [f'{"layer":<{width}}  {"MMAC":>9}  {"rate":>6}  {"active":>6}  {"MAC":>9}  AC [M]']
        for layer in self.layers:
            rate = '  real' if layer.rate is None else f'{layer.rate:6.3f}'
            rows.append(
                f'{layer.name:<{width}}  {layer.macs / 1e6:9.2f}  {rate}  {layer.active:6.3f}  '
                f'{layer.real_macs / 1e6:9.2f}  {layer.acs / 1e6:.2f}'
            )
        rows.append(
            f'total: {self.macs / 1e6:.1f} M MAC, {self.acs / 1e6:.1f} M AC, '
            f'{self.millijoule:.3f} mJ ({MAC_PICOJOULE} pJ a MAC, {AC_PICOJOULE} pJ an AC, 45 nm)'
        )
        return rows


def conv_macs(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, y: Tensor) -> int:
    """Return the MACs of a dense convolution of x to y, borders counted as if padded."""
    kernel = int(conv.weight[0, 0].numel())
    if isinstance(conv, nn.ConvTranspose2d):
        return x.numel() * kernel * conv.out_channels // conv.groups
    return y.numel() * kernel * conv.in_channels // conv.groups


def mean_report(reports: Sequence[EnergyReport]) -> EnergyReport:
    """Return the mean over frames of reports of one network.

    Rates are weighted by MACs, so that the accumulates are the mean of the accumulates.
    """
    layers = []
    for same in zip(*(report.layers for report in reports), strict=True):
        macs = sum(layer.macs for layer in same) / len(same)
        rate = None
        if same[0].rate is not None:
            rate = sum(layer.acs for layer in same) / len(same) / macs
        active = sum(layer.active for layer in same) / len(same)
        layers.append(LayerEnergy(same[0].name, macs, rate, active))
    return EnergyReport(tuple(layers))


class EnergyProbe:
    """Counts what the convolutions of a network do while it is the active context.

    Args:
        network: The network, plain or folded; one frame at a time.
    """

    def __init__(self, network: MfsSeg) -> None:
        self._names = {
            module: name.removeprefix('net.')
            for name, module in network.named_modules()
            if isinstance(module, Unit)
        }
        self._layers: list[LayerEnergy] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> EnergyProbe:
        """Begin to listen."""
        for unit, name in self._names.items():
            listener = _Listener(name, unit.levels, self._layers)
            self._handles.append(unit.conv.register_forward_hook(listener))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self) -> EnergyReport:
        """Return what was counted since the last call."""
        report = EnergyReport(tuple(self._layers))
        self._layers.clear()
        return report


class _Listener:
    """A forward hook of one convolution."""

    def __init__(self, name: str, levels: int | None, layers: list[LayerEnergy]) -> None:
        self._name, self._levels, self._layers = name, levels, layers

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        x = inputs[0].detach()
        rate = None if self._levels is None else float(x.double().mean()) * self._levels
        active = float((x != 0).double().mean())
        macs = float(conv_macs(module, x, output))
        self._layers.append(LayerEnergy(self._name, macs, rate, active))


def measure_energy(network: MfsSeg, inputs: Iterable[Tensor]) -> EnergyReport:
    """Return the mean activity and energy over inputs of one frame each.

    Args:
        network: A network in evaluation mode.
        inputs: Normalised images (1, C, H, W) or event frames (T, 1, C, H, W), all of one size.

    Raises:
        ValueError: There are no inputs, or one holds several frames.
    """
    reports = []
    with EnergyProbe(network) as probe, torch.inference_mode():
        for x in inputs:
            if x.shape[-4] != 1:
                msg = f'Energy is counted frame by frame, got a batch of {x.shape[-4]}.'
                raise ValueError(msg)
            network(x)
            reports.append(probe.take())
    if not reports:
        msg = 'Energy needs at least one frame; give a data set that is not empty.'
        raise ValueError(msg)
    return mean_report(reports)
