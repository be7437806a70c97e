# SPDX-License-Identifier: Apache-2.0
"""Energy: hand-computed layers, time steps and sub-steps counted once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.spiking.energy import (
    EnergyProbe,
    EnergyReport,
    LayerEnergy,
    count_product,
    dense_macs,
    mean_report,
    measure_energy,
)

TINY: dict[str, Any] = {'widths': (8, 8, 12, 16), 'depths': (1, 1, 1, 1), 'classes': 5}


def tiny(**changes: Any) -> MfsSeg:
    torch.manual_seed(1)
    network = MfsSeg(preset('base', **{**TINY, **changes}))
    network.train()(torch.randn(4, 3, 32, 32))
    return network.eval()


def layers_of(report: EnergyReport) -> dict[str, LayerEnergy]:
    return {layer.name: layer for layer in report.layers}


def test_a_layer_computed_by_hand() -> None:
    # A 3 x 3 convolution of 4 to 8 maps of 10 x 6, with 30 spikes among its 240 inputs.
    layer = LayerEnergy('a', macs=10 * 6 * 8 * 4 * 9, rate=30 / 240, active=30 / 240)
    assert layer.macs == 17280
    assert layer.acs == 2160  # each spike reaches 9 * 8 weights, the border counted as padded
    assert layer.picojoule == pytest.approx(2160 * 0.9)
    real = LayerEnergy('b', macs=100, rate=None, active=1.0)
    assert (real.acs, real.real_macs, real.picojoule) == (0, 100, pytest.approx(460))
    report = EnergyReport((layer, real))
    assert report.millijoule == pytest.approx((2160 * 0.9 + 460) * 1e-9)
    assert report.dense_millijoule == pytest.approx(17380 * 4.6e-9)
    assert report.rate == pytest.approx(0.125)


@pytest.mark.parametrize(
    ('conv', 'macs'),
    [
        (nn.Conv2d(4, 8, 3, padding=1), 10 * 6 * 8 * 4 * 9),
        (nn.Conv2d(4, 8, 3, padding=1, stride=2), 5 * 3 * 8 * 4 * 9),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), 10 * 6 * 4 * 9),
        (nn.ConvTranspose2d(4, 8, 4, stride=2, padding=1), 10 * 6 * 4 * 8 * 16),
        (nn.Linear(6, 5), 40 * 6 * 5),
    ],
)
def test_macs_of_kinds_of_layers(conv: nn.Module, macs: int) -> None:
    x = torch.zeros(1, 4, 10, 6)
    assert dense_macs(conv, x, conv(x)) == macs


def test_measured_accumulates_are_spikes_times_fan_out() -> None:
    network = tiny()
    spikes: list[Tensor] = []
    unit = network.net.encoder[0].blocks[0].units[1]  # type: ignore[union-attr,index]
    unit.neurons.register_forward_hook(lambda *call: spikes.append(call[2]))  # type: ignore[union-attr,operator]
    report = measure_energy(network, [torch.randn(1, 3, 32, 32)])
    layer = layers_of(report)['encoder.0.blocks.0.units.1']
    assert layer.acs == pytest.approx(float((4 * spikes[0]).sum()) * 9 * 8)
    assert layer.active == pytest.approx(float((spikes[0] != 0).float().mean()))
    stem = layers_of(report)['stem']
    assert (stem.rate, stem.real_macs) == (None, 16 * 16 * 8 * 3 * 9)


def test_every_layer_appears_once_and_only_the_image_costs_macs() -> None:
    for architecture, changes in (
        ('ushape', TINY),
        ('mimo', {'widths': (8, 12, 16), 'depths': (1, 1, 1), 'architecture': 'mimo'}),
    ):
        network = tiny(**changes)
        report = measure_energy(network, [torch.zeros(1, 3, 32, 32)])
        convolutions = (nn.Conv2d, nn.ConvTranspose2d)
        total = sum(isinstance(module, convolutions) for module in network.modules())
        assert len(layers_of(report)) == len(report.layers) == total
        real = [layer.name for layer in report.layers if layer.rate is None]
        expected = {'ushape': ['stem'], 'mimo': ['stem', 'scm.0.first', 'scm.1.first']}
        assert real == expected[architecture]


def test_events_cost_accumulates_only() -> None:
    network = tiny_events()
    frames = torch.randint(0, 7, (3, 1, 2, 32, 32)).float()
    report = measure_energy(network, [network.spikes(frames)])
    stem = layers_of(report)['stem']
    assert report.macs == 0
    assert stem.macs == 3 * 16 * 16 * 8 * 2 * 9
    assert stem.acs == pytest.approx(float(frames.clamp(0, 4).mean()) * stem.macs)


def tiny_events() -> MfsSeg:
    torch.manual_seed(1)
    return MfsSeg(preset('base', **{**TINY, 'events': True, 'input_channels': 2})).eval()


def test_steps_are_counted_once() -> None:
    frame = torch.randn(1, 3, 32, 32)
    one = layers_of(measure_energy(tiny(neuron='lif', steps=1), [frame]))
    three = layers_of(measure_energy(tiny(neuron='lif', steps=3), [frame]))
    # The image is convolved once and shown three times; all else runs in each step.
    assert three['stem'].macs == one['stem'].macs
    assert three['down.0'].macs == 3 * one['down.0'].macs
    assert three['down.0'].rate is not None
    assert 0 < three['down.0'].rate <= 1


def test_folding_changes_nothing() -> None:
    network, frames = tiny().double(), torch.randn(3, 1, 3, 32, 32, dtype=torch.float64)
    plain, folded = measure_energy(network, frames), measure_energy(network.folded(), frames)
    for one, other in zip(plain.layers, folded.layers, strict=True):
        assert other.picojoule == pytest.approx(one.picojoule)
    singles = [measure_energy(network, [frame]) for frame in frames]
    assert plain.acs == pytest.approx(sum(report.acs for report in singles) / 3)
    assert mean_report(singles).millijoule == pytest.approx(plain.millijoule)


def test_the_table_names_layers_constants_and_totals() -> None:
    text = '\n'.join(measure_energy(tiny(), [torch.randn(1, 3, 32, 32)]).lines())
    assert 'encoder.0.blocks.0.units.0' in text
    assert 'real' in text
    assert '4.6 pJ' in text


def test_batches_and_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match='batch of 2'):
        measure_energy(tiny(), [torch.zeros(2, 3, 32, 32)])
    with pytest.raises(ValueError, match='at least one frame'):
        measure_energy(tiny(), [])


class Attending(nn.Module):
    """Spikes of 0 .. 2 times a matrix, their product with themselves, and one of real values."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4, bias=False)

    def energy_layers(self) -> list[tuple[str, nn.Module, float | None]]:
        return [('linear', self.linear, 2)]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + self.linear(x)
        count_product('scores', 'attention', 4 * 3 * 4, x, levels=2)
        count_product('masks', 'mask product', 7, None)
        return y


def test_products_are_what_their_operands_are() -> None:
    x = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.5], [0.0] * 3, [0.0] * 3])[None, None]
    report = measure_energy(Attending(), [x])
    linear, scores, masks = report.layers
    # 4 spikes; each reaches 4 weights, and the layer ran twice.
    assert (linear.kind, linear.macs, linear.acs) == ('linear', 2 * 4 * 3 * 4, 2 * 4 * 4)
    assert (scores.kind, scores.acs, scores.real_macs) == ('attention', pytest.approx(16), 0)
    assert (scores.rate, scores.active) == (pytest.approx(4 / 12), pytest.approx(3 / 12))
    assert (masks.kind, masks.acs, masks.real_macs) == ('mask product', 0, 7)
    assert report.millijoule == pytest.approx((48 * 0.9 + 7 * 4.6) * 1e-9)
    assert report.totals() == {
        'macs': 7,
        'acs': pytest.approx(48),
        'millijoule': report.millijoule,
    }
    text = '\n'.join(report.lines())
    assert 'mask product' in text
    assert 'attention' in text


def test_only_the_thread_of_an_active_probe_is_heard() -> None:
    network = Attending()
    count_product('before', 'attention', 5, None)
    with EnergyProbe(network) as probe:
        thread = threading.Thread(target=count_product, args=('other', 'attention', 5, None))
        thread.start()
        thread.join()
        count_product('inside', 'attention', 5, None)
        assert [layer.name for layer in probe.take().layers] == ['inside']
    network(torch.zeros(1, 1, 2, 3))
    count_product('after', 'attention', 5, None)
    assert probe.take().layers == ()


def test_layers_without_a_rule_are_refused() -> None:
    with pytest.raises(TypeError, match='Bilinear'):
        dense_macs(nn.Bilinear(2, 2, 2), torch.zeros(1, 2), torch.zeros(1, 2))
