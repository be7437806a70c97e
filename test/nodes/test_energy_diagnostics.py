# SPDX-License-Identifier: Apache-2.0
"""The option energy of the real node: operations and millijoule per frame in the diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytest.importorskip('event_camera_msgs', reason='needs event_camera_msgs: make build')
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from event_camera_msgs.msg import EventPacket  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from spikeseg_ros.nodes import messages, qos  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

NODE = '/spikeseg/perception_node'
NAMES = ('MACs per frame', 'ACs per frame', 'energy per frame')


def numbers(reports: list[Any], what: str) -> list[float] | None:
    """Return what the last report says about the energy of an input, None where nothing."""
    for report in reversed(reports):
        for status in report.status:
            if status.name.endswith(f'{what} processing'):
                values = {item.key: item.value for item in status.values}
                if NAMES[2] not in values:
                    return None
                assert values['energy constants'] == '4.6 pJ a MAC, 0.9 pJ an AC, 45 nm'
                return [float(values[name].split()[0]) for name in NAMES]
    return None


def test_events(launch: Any, client: Any, camera: Any) -> None:
    process = launch('perception_node', device='cpu', sensor_width=120, sensor_height=90)
    reports = client.listen(DiagnosticArray, '/diagnostics')
    process.wait_for('Active')
    source = camera(client.talk(EventPacket, '/event_camera/events'))
    source.run(client, 1.5)
    assert numbers(reports, 'events') is None
    wanted = [Parameter('energy', value=True).to_parameter_msg()]
    request = SetParameters.Request(parameters=wanted)
    results = client.call(SetParameters, f'{NODE}/set_parameters', request).results
    assert results[0].successful, results[0].reason

    def told() -> list[float] | None:
        source.run(client, 0.1)
        return numbers(reports, 'events')

    macs, acs, millijoule = client.until(told, 'energy in the diagnostics')
    assert macs == 0
    # A window has up to 250 events, 1 spike each at most, at 3 scales; each causes 100 ACs.
    assert acs > 0.005
    assert millijoule == pytest.approx(acs * 0.9e-3, abs=1e-5)


def test_images(launch: Any, client: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    from spikeseg_ros.models.mfs_seg import MfsSeg
    from spikeseg_ros.models.mfs_seg_config import preset
    from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg

    torch.manual_seed(1)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2))
    network.train()(torch.randn(2, 3, 16, 16))
    colors = ((0, 0, 0), (255, 0, 0))
    save_mfs_seg(tmp_path / 'net.pt', network.eval(), ('road', 'car'), colors, {'size': [24, 32]})
    process = launch(
        'perception_node',
        device='cpu',
        model='mfs_seg',
        weights=str(tmp_path / 'net.pt'),
        image_topic='/camera/image',
        energy=True,
    )
    reports = client.listen(DiagnosticArray, '/diagnostics')
    process.wait_for('Active')
    publisher = client.talk(Image, '/camera/image', qos.best_effort(1))
    rng = np.random.default_rng(3)
    picture = messages.to_image_message(
        rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), 10**18, 'cam'
    )

    def told() -> list[float] | None:
        publisher.publish(picture)
        client.spin(0.2)
        return numbers(reports, 'images')

    macs, acs, millijoule = client.until(told, 'energy in the diagnostics')
    # Only the first convolution sees real values: 12 x 16 outputs of 8 maps, 3 x 9 weights each.
    assert macs == pytest.approx(12 * 16 * 8 * 27 / 1e6, abs=6e-4)
    assert acs > macs
    assert millijoule == pytest.approx(macs * 4.6e-3 + acs * 0.9e-3, abs=2e-5)
