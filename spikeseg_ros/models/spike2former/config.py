# SPDX-License-Identifier: Apache-2.0
"""Configuration and presets of Spike2Former."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spikeseg_ros.models.config_values import typed_values

BACKBONES = ('v2', 'v3')
LAYOUTS = ('aligned', 'official')
# The backbone of the third version has neurons of its own.
V3_LEVELS = 4
PUBLISHED_BACKBONES = {'Spiking_vit_MetaFormer': 'v2', 'Spiking_vit_MetaFormerv2': 'v3'}
PUBLISHED_DEPTHS = {8: (6, 2)}


class Spike2FormerConfigError(ValueError):
    """A network cannot be built with these values; the text says which and what to do."""


@dataclass(frozen=True)
class Spike2FormerConfig:
    """Shape and neurons of a network.

    Attributes:
        backbone: 'v2' (Meta-SpikeFormer, SDT V2) or 'v3' (E-SpikeFormer, SDT V3).
        dims: Maps at 1/4, 1/8 and 1/16, and of the last stage at 1/16; half of the first at 1/2.
        backbone_heads: Heads of the attention in the backbone.
        backbone_depths: Transformer blocks of the two stages at 1/16.
        levels: Largest spike count of a neuron (D); neurons of backbone 'v3' always have 4.
        steps: Repeats of an image (T). They are identical, so a frame is computed once.
        width: Maps of the pixel decoder and of queries (E).
        groups: Groups of maps that share the points of the deformable sampling.
        deformable_kernel: Edge of the depthwise kernels around the deformable sampling.
        heads: Heads of the attention of the transformer decoder.
        queries: Number of queries (Q).
        classes: Number of classes (K), without "no object".
        encoder_layers: Layers of the pixel decoder at 1/16.
        encoder_hidden: Hidden maps of their perceptrons.
        decoder_layers: Layers of the transformer decoder (L).
        decoder_hidden: Hidden maps of their perceptrons.
        layout: 'aligned', or 'official' for weights that were trained with the published code,
            which reads three tensors in another order than it wrote them.
        mean: Mean of each channel of an RGB image on a scale of 0 .. 255.
        std: Scale of each channel.
    """

    backbone: str = 'v2'
    dims: tuple[int, ...] = (64, 128, 256, 360)
    backbone_heads: int = 8
    backbone_depths: tuple[int, ...] = (6, 2)
    levels: int = 8
    steps: int = 1
    width: int = 256
    groups: int = 32
    deformable_kernel: int = 5
    heads: int = 8
    queries: int = 100
    classes: int = 150
    encoder_layers: int = 6
    encoder_hidden: int = 1024
    decoder_layers: int = 6
    decoder_hidden: int = 2048
    layout: str = 'aligned'
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            Spike2FormerConfigError: A value lies outside its range or does not fit another.
        """
        checks = {
            'backbone': self.backbone in BACKBONES,
            'dims': len(self.dims) == 4 and all(2 <= n <= 2048 for n in self.dims),
            'backbone_heads': 1 <= self.backbone_heads <= 64,
            'backbone_depths': len(self.backbone_depths) == 2
            and all(1 <= n <= 64 for n in self.backbone_depths),
            'levels': 1 <= self.levels <= 255,
            'steps': 1 <= self.steps <= 64,
            'width': 4 <= self.width <= 2048,
            'groups': 1 <= self.groups <= 256,
            'deformable_kernel': self.deformable_kernel in (1, 3, 5, 7, 9),
            'heads': 1 <= self.heads <= 64,
            'queries': 1 <= self.queries <= 2000,
            'classes': 1 <= self.classes <= 4096,
            'encoder_layers': 1 <= self.encoder_layers <= 64,
            'encoder_hidden': 1 <= self.encoder_hidden <= 16384,
            'decoder_layers': 1 <= self.decoder_layers <= 64,
            'decoder_hidden': 1 <= self.decoder_hidden <= 16384,
            'layout': self.layout in LAYOUTS,
            'mean': len(self.mean) == 3,
            'std': len(self.std) == 3 and all(value > 0 for value in self.std),
        }
        for name, good in checks.items():
            if not good:
                msg = f'{name} of the network is out of range: {getattr(self, name)!r}.'
                raise Spike2FormerConfigError(msg)
        divisors = (
            ('dims', self.dims[0], 2),
            ('dims', self.dims[2], self.backbone_heads),
            ('dims', self.dims[3], self.backbone_heads),
            ('width', self.width, self.heads),
            ('width', self.width, self.groups),
            ('width', self.width, 4),
        )
        for name, value, divisor in divisors:
            if value % divisor:
                msg = f'{value} of {name} must be a multiple of {divisor}.'
                raise Spike2FormerConfigError(msg)

    @property
    def backbone_levels(self) -> int:
        """Largest spike count of a neuron of the backbone."""
        return V3_LEVELS if self.backbone == 'v3' else self.levels

    @property
    def stages(self) -> tuple[int, ...]:
        """Maps of the five stages of the backbone."""
        return (self.dims[0] // 2, *self.dims)

    @staticmethod
    def from_published(config: dict[str, Any], levels: int = 8) -> Spike2FormerConfig:
        """Return the configuration of a published configuration dictionary.

        Args:
            config: Nested mappings as in the published files ('backbone', 'decode_head', ...).
            levels: D, which the published files do not state.

        Raises:
            Spike2FormerConfigError: Something is missing, or cannot be built.
        """
        try:
            return _from_published(config, levels)
        except (KeyError, TypeError, IndexError) as error:
            msg = (
                f'The published configuration lacks {error} or has it in another form; give the '
                f'dictionary with the entries "backbone" and "decode_head".'
            )
            raise Spike2FormerConfigError(msg) from error

    @staticmethod
    def from_mapping(values: dict[str, Any]) -> Spike2FormerConfig:
        """Return the configuration of a mapping of field names.

        Raises:
            Spike2FormerConfigError: An unknown name, or a value of the wrong type or range.
        """
        return Spike2FormerConfig(
            **typed_values(Spike2FormerConfig, values, Spike2FormerConfigError)
        )


def _from_published(config: dict[str, Any], levels: int) -> Spike2FormerConfig:
    backbone, head = config['backbone'], config['decode_head']
    kind, depth = backbone['type'], backbone.get('depths', 8)
    if kind not in PUBLISHED_BACKBONES or depth not in PUBLISHED_DEPTHS:
        msg = (
            f'Backbone {kind!r} of depth {depth!r} is not known; known: '
            f'{", ".join(PUBLISHED_BACKBONES)} of depth {", ".join(map(str, PUBLISHED_DEPTHS))}.'
        )
        raise Spike2FormerConfigError(msg)
    encoder = head['pixel_decoder']['encoder']
    decoder = head['transformer_decoder']
    sampling = encoder['layer_cfg']['self_attn_cfg']
    layer = decoder['layer_cfg']
    images = config.get('data_preprocessor', {})
    values = {
        'backbone': PUBLISHED_BACKBONES[kind],
        'dims': backbone['embed_dim'],
        'backbone_heads': backbone['num_heads'],
        'backbone_depths': PUBLISHED_DEPTHS[depth],
        'levels': levels,
        'steps': backbone.get('T', 1),
        'width': head['feat_channels'],
        'groups': sampling['group'],
        'deformable_kernel': sampling['dw_kernel_size'],
        'heads': layer['self_attn_cfg']['num_heads'],
        'queries': head['num_queries'],
        'classes': head['num_classes'],
        'encoder_layers': encoder['num_layers'],
        'encoder_hidden': encoder['layer_cfg']['ffn_cfg']['feedforward_channels'],
        'decoder_layers': decoder['num_layers'],
        'decoder_hidden': layer['ffn_cfg']['feedforward_channels'],
        'layout': 'official',
    }
    values.update({name: images[name] for name in ('mean', 'std') if name in images})
    return Spike2FormerConfig.from_mapping(values)


_LARGE = {'queries': 200, 'encoder_hidden': 2048, 'decoder_layers': 9}
_CITY = {'classes': 19}

PRESETS: dict[str, dict[str, Any]] = {
    'ade20k_v2': {'steps': 4},
    'ade20k_v2_repo': {},
    'ade20k_v2_large': _LARGE,
    'cityscapes_v2': {**_CITY, 'steps': 4},
    'cityscapes_v2_repo': {**_CITY, 'encoder_hidden': 2048},
    'voc_v2_1x4': {'levels': 4},
    'voc_v2_4x4': {'levels': 4, 'steps': 4},
    'ade20k_v3': {'backbone': 'v3'},
    'voc_v3': {'backbone': 'v3'},
    'cityscapes_v3': {**_CITY, 'backbone': 'v3'},
    'tiny': {
        'backbone': 'v3', 'dims': (16, 32, 64, 96), 'backbone_heads': 4,
        'backbone_depths': (2, 1), 'levels': 4, 'width': 48, 'groups': 6,
        'deformable_kernel': 3, 'heads': 4, 'queries': 24, 'classes': 11, 'encoder_layers': 2,
        'encoder_hidden': 96, 'decoder_layers': 3, 'decoder_hidden': 96,
    },
    'small': {
        'backbone': 'v3', 'dims': (32, 64, 96, 112), 'backbone_heads': 4,
        'backbone_depths': (3, 1), 'levels': 4, 'width': 64, 'groups': 8,
        'deformable_kernel': 3, 'heads': 4, 'queries': 32, 'classes': 11, 'encoder_layers': 2,
        'encoder_hidden': 128, 'decoder_layers': 3, 'decoder_hidden': 192,
    },
}  # fmt: skip


def preset(name: str, **changes: Any) -> Spike2FormerConfig:
    """Return the configuration of a preset, with some values replaced.

    Args:
        name: One of `PRESETS`: the published configurations, in the aligned layout, or 'tiny'
            (0.9 M parameters) and 'small' (2.2 M) for a robot.
        changes: Values to replace.

    Raises:
        Spike2FormerConfigError: There is no such preset, no such option, or a value is out of
            range.
    """
    if name not in PRESETS:
        msg = f'Unknown preset {name!r}; there are {", ".join(PRESETS)}.'
        raise Spike2FormerConfigError(msg)
    return Spike2FormerConfig.from_mapping({**PRESETS[name], **changes})
