# SPDX-License-Identifier: Apache-2.0
"""Active spike hashing (ASH): which feature fired at which step, packed to bits.

Rows are the feature maps of conv1, then conv2, then the class layer; columns are steps. Bit
f * T + t of the words (least significant bit first) tells whether feature f fired at step t.

Source: Kirkland et al. 2022 (HULK-SMASH), active spike hashing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit

from spikeseg_ros.algorithms.errors import HashError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

LAYERS = ('conv1', 'conv2', 'class')
TIME_ALIGNMENTS = ('absolute', 'relative')


def word_count(n_features: int, n_timesteps: int) -> int:
    """Return the number of 64-bit words of a hash."""
    return (n_features * n_timesteps + 63) // 64


def pack(matrix: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack hash matrices (..., F, T) of bool into words (..., W) of uint64."""
    features, steps = matrix.shape[-2:]
    flat = np.ascontiguousarray(matrix, np.bool_).reshape(*matrix.shape[:-2], features * steps)
    words = word_count(features, steps)
    padding = [(0, 0)] * (flat.ndim - 1) + [(0, words * 64 - flat.shape[-1])]
    packed = np.packbits(np.pad(flat, padding), axis=-1, bitorder='little')
    return packed.view('<u8').astype(np.uint64)


def unpack(words: NDArray[np.uint64], n_features: int, n_timesteps: int) -> NDArray[np.bool_]:
    """Unpack words (..., W) of uint64 into hash matrices (..., F, T) of bool."""
    data = np.ascontiguousarray(words).astype('<u8').view(np.uint8)
    bits = np.unpackbits(data, axis=-1, count=n_features * n_timesteps, bitorder='little')
    return bits.astype(np.bool_).reshape(*words.shape[:-1], n_features, n_timesteps)


def relative_words(
    words: NDArray[np.uint64], steps: NDArray[np.integer[Any]], n_features: int, n_timesteps: int
) -> NDArray[np.uint64]:
    """Replace the absolute step t of every column by its lag behind the class spike, step - t.

    The lag does not depend on when in the window an object was seen, so relative hashes can be
    compared across windows.

    Args:
        words: Hashes, shape (N, W), uint64.
        steps: Step of the class spike of each hash, shape (N,).
        n_features: Rows F.
        n_timesteps: Columns T.

    Returns:
        Hashes with lags as columns, shape (N, W), uint64. Activity after the class spike, which
        a causal hash does not have, is left out.
    """
    shifted = np.zeros_like(words)
    _shift(words, np.asarray(steps, np.int64), n_features, n_timesteps, shifted)
    return shifted


@njit(cache=True, nogil=True)
def _shift(words: Any, steps: Any, n_features: Any, n_timesteps: Any, shifted: Any) -> None:
    """Write hashes with lags as columns.

    Args:
        words: Hashes, (N, W), uint64.
        steps: Step of the class spike of each hash, (N,), int64.
        n_features: Rows F.
        n_timesteps: Columns T.
        shifted: Zeros, receives the hashes, (N, W), uint64.
    """
    one = np.uint64(1)
    for i in range(words.shape[0]):
        for word in range(words.shape[1]):
            bits, at = words[i, word], 64 * word
            while bits != 0:
                if bits & one != 0:
                    feature = at // n_timesteps
                    lag = steps[i] - (at - feature * n_timesteps)
                    if feature < n_features and 0 <= lag < n_timesteps:
                        to = feature * n_timesteps + lag
                        shifted[i, to >> 6] |= one << np.uint64(to & 63)
                bits >>= one
                at += 1


def layer_words(
    layers: Sequence[int], n_timesteps: int, include: Iterable[str] = LAYERS
) -> NDArray[np.uint64]:
    """Return a hash with 1 in the rows of the named layers, to be ANDed with others.

    With few conv1 maps nearly every instance has all their rows on, so leaving 'conv1' out makes
    hashes more selective.

    Args:
        layers: Number of maps of conv1, conv2 and the class layer.
        n_timesteps: Columns T.
        include: Names of the layers to keep, of LAYERS.

    Returns:
        Words, shape (W,), uint64.

    Raises:
        HashError: A name is not one of LAYERS.
    """
    names = tuple(include)
    for name in names:
        if name not in LAYERS:
            msg = f'Unknown layer {name!r}; use some of {", ".join(LAYERS)}.'
            raise HashError(msg)
    rows = np.repeat([name in names for name in LAYERS], layers)
    return pack(np.repeat(rows[:, None], n_timesteps, axis=1))


class ActiveSpikeHash:
    """Binary matrix of features and steps, stored as bits.

    Attributes:
        words: Packed bits, shape (W,), uint64 (see the module).
        n_features: Rows F.
        n_timesteps: Columns T.
    """

    __slots__ = ('n_features', 'n_timesteps', 'words')

    def __init__(
        self,
        hash_matrix: torch.Tensor | NDArray[Any],
        n_features: int | None = None,
        n_timesteps: int | None = None,
    ) -> None:
        """Pack a hash matrix.

        Args:
            hash_matrix: Shape (F, T); every value other than 0 counts as 1.
            n_features: F, to be checked; None takes it from the matrix.
            n_timesteps: T, to be checked; None takes it from the matrix.

        Raises:
            HashError: The matrix does not have the shape (F, T).
        """
        matrix = _to_numpy(hash_matrix) != 0
        shape = tuple(matrix.shape)
        fits = matrix.ndim == 2 and n_features in (None, shape[0])
        if not fits or n_timesteps not in (None, shape[1]):
            msg = (
                f'A hash matrix of n_features={n_features!r} and n_timesteps={n_timesteps!r} has '
                f'the shape (F, T), got {shape!r}.'
            )
            raise HashError(msg)
        self.n_features: int = shape[0]
        self.n_timesteps: int = shape[1]
        self.words: NDArray[np.uint64] = pack(matrix)

    @classmethod
    def from_words(
        cls, words: NDArray[np.uint64], n_features: int, n_timesteps: int
    ) -> ActiveSpikeHash:
        """Wrap packed bits of shape (W,) without copying.

        Raises:
            HashError: The number of words does not fit F and T.
        """
        if words.shape != (word_count(n_features, n_timesteps),):
            msg = (
                f'A hash of {n_features} features and {n_timesteps} steps has '
                f'{word_count(n_features, n_timesteps)} words, got shape {words.shape!r}.'
            )
            raise HashError(msg)
        made = cls.__new__(cls)
        made.n_features, made.n_timesteps, made.words = n_features, n_timesteps, words
        return made

    @classmethod
    def from_spike_activity(
        cls,
        spike_times: Mapping[int, Iterable[tuple[int, int, int]]],
        n_features: int,
        n_timesteps: int,
        device: torch.device | str | None = None,
    ) -> ActiveSpikeHash:
        """Hash a list of spikes.

        Args:
            spike_times: Spikes (x, y, t) by feature.
            n_features: Rows F.
            n_timesteps: Columns T.
            device: Accepted for code of the published API; the bits live in main memory.

        Raises:
            HashError: A feature or step lies outside the matrix.
        """
        del device
        matrix = np.zeros((n_features, n_timesteps), np.bool_)
        for feature, spikes in spike_times.items():
            for _x, _y, step in spikes:
                if not (0 <= feature < n_features and 0 <= step < n_timesteps):
                    msg = (
                        f'Spike of feature {feature!r} at step {step!r} lies outside the hash of '
                        f'{n_features} features and {n_timesteps} steps.'
                    )
                    raise HashError(msg)
                matrix[feature, int(step)] = True
        return cls(matrix)

    @classmethod
    def from_layer_spikes(
        cls,
        layer_spikes: Sequence[torch.Tensor | NDArray[Any]],
        device: torch.device | str | None = None,
    ) -> ActiveSpikeHash:
        """Hash the spikes of several layers; their features follow each other as rows.

        Args:
            layer_spikes: Per layer (T, C, H, W), or (T, 1, C, H, W).
            device: Accepted for code of the published API; the bits live in main memory.

        Raises:
            HashError: There is no layer, a shape is wrong, or the numbers of steps differ.
        """
        del device
        parts = [_fired(spikes) for spikes in layer_spikes]
        if not parts or len({part.shape[0] for part in parts}) != 1:
            shapes = [tuple(spikes.shape) for spikes in layer_spikes]
            msg = f'Give at least one layer, all with the same number of steps, got {shapes!r}.'
            raise HashError(msg)
        return cls(np.concatenate(parts, axis=1).T)

    @classmethod
    def from_spike_tensor(cls, spikes: torch.Tensor | NDArray[Any]) -> ActiveSpikeHash:
        """Hash spikes of shape (T, F, H, W), (T, 1, F, H, W), or (T, F) without space.

        Raises:
            HashError: The shape is another one.
        """
        return cls(_fired(spikes).T)

    @property
    def matrix(self) -> NDArray[np.bool_]:
        """Hash matrix as an array, shape (F, T), bool."""
        return unpack(self.words, self.n_features, self.n_timesteps)

    @property
    def hash_matrix(self) -> torch.Tensor:
        """Hash matrix as a tensor, shape (F, T), bool."""
        return torch.from_numpy(self.matrix)

    @property
    def n_active(self) -> int:
        """Number of ones."""
        return _ones(self.words)

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0 .. 1; 1 for a hash without any cell."""
        cells = self.n_features * self.n_timesteps
        return 1.0 - self.n_active / cells if cells else 1.0

    def similarity(self, other: ActiveSpikeHash) -> float:
        """Return the Jaccard index of the ones, 0 .. 1; 0 where both hashes are empty.

        Raises:
            HashError: The hashes have different shapes.
        """
        self._check_same_shape(other)
        union = _ones(self.words | other.words)
        common = _ones(self.words & other.words)
        return common / union if union else 0.0

    def union(self, other: ActiveSpikeHash) -> ActiveSpikeHash:
        """Return the hash with the ones of both.

        Raises:
            HashError: The hashes have different shapes.
        """
        self._check_same_shape(other)
        words = self.words | other.words
        return ActiveSpikeHash.from_words(words, self.n_features, self.n_timesteps)

    def relative_to(self, step: int) -> ActiveSpikeHash:
        """Return the hash with the lag behind a step as column (see relative_words)."""
        words = relative_words(
            self.words[None], np.array([step]), self.n_features, self.n_timesteps
        )
        return ActiveSpikeHash.from_words(words[0], self.n_features, self.n_timesteps)

    def _check_same_shape(self, other: ActiveSpikeHash) -> None:
        mine, theirs = (self.n_features, self.n_timesteps), (other.n_features, other.n_timesteps)
        if mine != theirs:
            msg = (
                f'Hashes of shape {mine!r} and {theirs!r} (features, steps) cannot be compared: '
                'both must come from the same network and window length.'
            )
            raise HashError(msg)

    def __eq__(self, other: object) -> bool:
        """Return whether shape and bits are equal."""
        if not isinstance(other, ActiveSpikeHash):
            return NotImplemented
        return (
            self.n_features == other.n_features
            and self.n_timesteps == other.n_timesteps
            and bool(np.array_equal(self.words, other.words))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return shape and number of ones."""
        return (
            f'ActiveSpikeHash(n_features={self.n_features}, n_timesteps={self.n_timesteps}, '
            f'n_active={self.n_active})'
        )


def _ones(words: NDArray[np.uint64]) -> int:
    """Count the ones of packed bits."""
    return int.from_bytes(words.tobytes(), 'little').bit_count()


def _to_numpy(values: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    """Return an array; tensors come from any device."""
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu().numpy())
    return np.asarray(values)


def _fired(spikes: torch.Tensor | NDArray[Any]) -> NDArray[np.bool_]:
    """Return which feature fired at which step, shape (T, F), bool."""
    values: NDArray[np.bool_] = np.asarray(_to_numpy(spikes) != 0)
    if values.ndim == 5 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 4:
        values = np.asarray(values.any(axis=(2, 3)))
    if values.ndim != 2:
        msg = (
            'Spikes have the shape (T, F, H, W), (T, 1, F, H, W) or (T, F), got '
            f'{tuple(spikes.shape)!r}; hash one batch item at a time.'
        )
        raise HashError(msg)
    return values
