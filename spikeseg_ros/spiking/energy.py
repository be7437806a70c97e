# SPDX-License-Identifier: Apache-2.0
"""Counting what a network does while it runs; see `energy_report` for the convention.

What is no layer with weights (attention, sampling, the product of queries and masks) is reported
by the network itself with `count_product`. It counts as accumulates where one operand is spikes,
by the spikes of that operand, and as MACs where both are real.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from spikeseg_ros.spiking.energy_report import (
    AC_PICOJOULE,
    CONSTANTS,
    MAC_PICOJOULE,
    EnergyReport,
    LayerEnergy,
    mean_report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import Token

__all__ = [
    'AC_PICOJOULE',
    'CONSTANTS',
    'MAC_PICOJOULE',
    'Countable',
    'EnergyProbe',
    'EnergyReport',
    'LayerEnergy',
    'count_product',
    'counting',
    'dense_macs',
    'mean_report',
    'measure_energy',
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


class Countable(Protocol):
    """A network that names the layers whose work is counted."""

    def energy_layers(self) -> Sequence[tuple[str, nn.Module, float | None]]:
        """Return name, layer, and how many spikes an input of 1 stands for (None = real)."""


class _Record(NamedTuple):
    """One call of a layer. Sums stay on the device until they are asked for."""

    name: str
    kind: str
    macs: float
    levels: float | None
    total: Tensor
    active: Tensor
    size: int


_RECORDS: ContextVar[list[_Record] | None] = ContextVar('spikeseg_energy', default=None)


def counting() -> bool:
    """Say whether a probe is active in this thread."""
    return _RECORDS.get() is not None


def count_product(
    name: str, kind: str, macs: float, operand: Tensor | None, levels: float = 1.0
) -> None:
    """Tell the active probe of this thread about a product without weights.

    Does nothing where no probe is active.

    Args:
        name: Name of the product.
        kind: What it is for: 'attention', 'mask product', 'sampling', ...
        macs: Multiply-accumulates of the dense product, over all time steps.
        operand: The operand that consists of spikes; None where both are real.
        levels: How many spikes a value of 1 in the operand stands for.
    """
    if torch.compiler.is_compiling():
        return
    records = _RECORDS.get()
    if records is not None:
        records.append(_record(name, kind, float(macs), operand, levels))


def _record(
    name: str, kind: str, macs: float, operand: Tensor | None, levels: float | None
) -> _Record:
    if operand is None:
        one = torch.ones(())
        return _Record(name, kind, macs, None, one, one, 1)
    x = operand.detach()
    total, active = x.sum(dtype=torch.float64), torch.count_nonzero(x)
    return _Record(name, kind, macs, levels, total, active, max(1, x.numel()))


def dense_macs(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Return the MACs of a dense layer that turns x into y, borders counted as if padded.

    Raises:
        TypeError: The layer is none of a convolution, transposed convolution or linear layer.
    """
    if isinstance(layer, nn.Linear):
        return y.numel() * layer.in_features
    if not isinstance(layer, _CONVOLUTIONS):
        msg = f'The work of a {type(layer).__name__} cannot be counted; report it as a product.'
        raise TypeError(msg)
    kernel = int(layer.weight[0, 0].numel())
    if isinstance(layer, nn.ConvTranspose2d):
        return x.numel() * kernel * layer.out_channels // layer.groups
    return y.numel() * kernel * layer.in_channels // layer.groups


class EnergyProbe:
    """Counts what a network does while it is the active context.

    It hears the layers of its network wherever they run, and `count_product` in the thread that
    entered it. Graphs of a GPU and compiled code are not heard: count the plain network.

    Args:
        network: The network, one frame at a time.
    """

    def __init__(self, network: Countable) -> None:
        self._layers = list(network.energy_layers())
        self._records: list[_Record] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._token: Token[list[_Record] | None] | None = None

    def __enter__(self) -> EnergyProbe:
        """Begin to listen."""
        for name, layer, levels in self._layers:
            listener = _Listener(name, levels, self._records)
            self._handles.append(layer.register_forward_hook(listener))
        self._token = _RECORDS.set(self._records)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        if self._token is not None:
            _RECORDS.reset(self._token)
            self._token = None
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self) -> EnergyReport:
        """Return what was counted since the last call; calls of one layer are added up."""
        calls: dict[str, list[_Record]] = {}
        for record in self._records:
            calls.setdefault(record.name, []).append(record)
        self._records.clear()
        return EnergyReport(tuple(_layer(same) for same in calls.values()))


def _layer(calls: list[_Record]) -> LayerEnergy:
    """Return what the calls of one layer did together."""
    first, macs = calls[0], sum(call.macs for call in calls)
    active = sum(float(call.active) for call in calls) / sum(call.size for call in calls)
    rate = None
    if first.levels is not None:
        acs = sum(call.macs * float(call.total) * (call.levels or 0) / call.size for call in calls)
        rate = acs / macs if macs else 0.0
    return LayerEnergy(first.name, macs, rate, active, first.kind)


class _Listener:
    """A forward hook of one layer."""

    def __init__(self, name: str, levels: float | None, records: list[_Record]) -> None:
        self._name, self._levels, self._records = name, levels, records

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kind = 'linear' if isinstance(module, nn.Linear) else 'conv'
        macs = float(dense_macs(module, inputs[0], output))
        self._records.append(_record(self._name, kind, macs, inputs[0], self._levels))


def measure_energy(
    network: Countable,
    inputs: Iterable[Tensor],
    forward: Callable[[Tensor], object] | None = None,
) -> EnergyReport:
    """Return the mean activity and energy over inputs of one frame each.

    Args:
        network: A network in evaluation mode.
        inputs: Normalised images (1, C, H, W) or event frames (T, 1, C, H, W), all of one size.
        forward: How the network runs on an input; a plain call where None.

    Raises:
        ValueError: There are no inputs, or one holds several frames.
    """
    if forward is None:
        assert isinstance(network, nn.Module)
        forward = network
    reports = []
    with EnergyProbe(network) as probe, torch.inference_mode():
        for x in inputs:
            if x.shape[-4] != 1:
                msg = f'Energy is counted frame by frame, got a batch of {x.shape[-4]}.'
                raise ValueError(msg)
            forward(x)
            reports.append(probe.take())
    if not reports:
        msg = 'Energy needs at least one frame; give a data set that is not empty.'
        raise ValueError(msg)
    return mean_report(reports)
