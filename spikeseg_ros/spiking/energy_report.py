# SPDX-License-Identifier: Apache-2.0
"""What a spiking network did, layer by layer: activity, operations, energy.

Convention: a product of real values costs one multiply-accumulate (MAC), one with spikes one
accumulate (AC) for each spike and weight it meets::

    ACs = dense MACs of all time steps * mean spike count of an input value in a step

A spike count k (integer neurons) is k binary spikes, so the D sub-steps are in the count and not
multiplied again; T steps are in the dense MACs and not multiplied again. Biases and what neurons
themselves do are left out, as usual. Energies are those of 32-bit arithmetic at 45 nm: 4.6 pJ a
MAC, 0.9 pJ an AC (Horowitz 2014). They compare networks; no chip was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAC_PICOJOULE = 4.6
AC_PICOJOULE = 0.9
CONSTANTS = f'{MAC_PICOJOULE} pJ a MAC, {AC_PICOJOULE} pJ an AC, 45 nm'


@dataclass(frozen=True)
class LayerEnergy:
    """What one layer did for one frame.

    Attributes:
        name: Name of the layer.
        macs: Multiply-accumulates of a dense layer, over all time steps.
        rate: Mean spike count of an input value in a time step; None where the layer reads real
            values.
        active: Share of input values that are not 0.
        kind: 'conv', 'linear', or what a product is for, for example 'attention'.
    """

    name: str
    macs: float
    rate: float | None
    active: float
    kind: str = 'conv'

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
        """Energy [mJ] of the same layers on real values: an ordinary network."""
        return sum(layer.macs for layer in self.layers) * MAC_PICOJOULE * 1e-9

    @property
    def rate(self) -> float:
        """Mean spike count of the inputs of spiking layers, weighted by their MACs."""
        total = sum(layer.macs for layer in self.layers if layer.rate is not None)
        return self.acs / total if total else 0.0

    def totals(self) -> dict[str, float]:
        """Return 'macs', 'acs' and 'millijoule' of a frame."""
        return {'macs': self.macs, 'acs': self.acs, 'millijoule': self.millijoule}

    def lines(self) -> list[str]:
        """Return a table."""
        width = max([len(layer.name) for layer in self.layers], default=5)
        other = max([len(layer.kind) for layer in self.layers], default=4)
        rows = [
            f'{"layer":<{width}}  {"kind":<{other}}  {"MMAC":>9}  {"rate":>6}  {"active":>6}  '
            f'{"MAC [M]":>9}  AC [M]'
        ]
        for layer in self.layers:
            rate = '  real' if layer.rate is None else f'{layer.rate:6.3f}'
            rows.append(
                f'{layer.name:<{width}}  {layer.kind:<{other}}  {layer.macs / 1e6:9.2f}  {rate}  '
                f'{layer.active:6.3f}  {layer.real_macs / 1e6:9.2f}  {layer.acs / 1e6:.2f}'
            )
        rows.append(
            f'total: {self.macs / 1e6:.1f} M MAC, {self.acs / 1e6:.1f} M AC, '
            f'{self.millijoule:.3f} mJ ({CONSTANTS})'
        )
        return rows


def mean_report(reports: Sequence[EnergyReport]) -> EnergyReport:
    """Return the mean over frames of reports of one network.

    Rates are weighted by MACs, so that the accumulates are the mean of the accumulates.
    """
    layers = []
    for same in zip(*(report.layers for report in reports), strict=True):
        macs = sum(layer.macs for layer in same) / len(same)
        rate = None
        if same[0].rate is not None:
            acs = sum(layer.acs for layer in same) / len(same)
            rate = acs / macs if macs else 0.0
        active = sum(layer.active for layer in same) / len(same)
        layers.append(LayerEnergy(same[0].name, macs, rate, active, same[0].kind))
    return EnergyReport(tuple(layers))
