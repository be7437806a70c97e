# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks made ready for one shape of input.

CPU: normalisation folded, channels last. GPU: the same as a CUDA graph with buffers of its own,
so that a frame costs one launch; on request the convolutions in half precision, with the input of
neurons in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg import MfsSeg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikeseg_ros.models.spike2former import Spike2Former

    Run = Callable[[Tensor, Sequence[Tensor] | None], 'Segmented']

# Passes before a graph is recorded: libraries choose their kernels and allocate.
_WARM_UP = 3


class CompiledError(ValueError):
    """An input does not fit what the network was made ready for."""


class Segmented(NamedTuple):
    """What a pass produced.

    Attributes:
        logits: Shape (B, classes, h, w), float32; the finest scale of the network.
        state: Potentials behind the last step; empty unless kept.
    """

    logits: Tensor
    state: tuple[Tensor, ...]


class Compiled:
    """A network for inputs of one shape, on the device of the example. See `compiled`.

    Attributes:
        network: The folded network that runs, plain; its operations can be counted.
    """

    def __init__(self, network: nn.Module, run: Run, example: Tensor) -> None:
        self.network = network
        self._run = run
        self._shape = example.shape

    def __call__(self, x: Tensor, state: Sequence[Tensor] | None = None) -> Segmented:
        """Segment an input.

        Args:
            x: Input of the shape of the example.
            state: What an earlier call returned; neurons at rest where None.

        Raises:
            CompiledError: The input has another shape.
        """
        if x.shape != self._shape:
            msg = (
                f'The network was made ready for inputs {tuple(self._shape)!r}, got '
                f'{tuple(x.shape)!r}; make it ready again for this shape.'
            )
            raise CompiledError(msg)
        with torch.inference_mode():
            return self._run(x, state)


def compiled(
    network: MfsSeg | Spike2Former,
    example: Tensor,
    *,
    keep: bool = False,
    half: bool = False,
) -> Compiled:
    """Make a network ready for inputs like an example.

    Args:
        network: The network, folded or not; it is copied.
        example: Normalised images (B, C, H, W) or event frames (T, B, C, H, W), on the device.
        keep: Return the state behind each input; otherwise every input starts from rest.
        half: GPU: convolutions in float16.

    Raises:
        CompiledError: `half` is asked for on a CPU.
    """
    gpu = example.device.type == 'cuda'
    if half and not gpu:
        raise CompiledError('Half precision is for GPUs; leave half out.')
    folded: Any = network.folded().to(example.device)
    plain = folded.to(memory_format=torch.channels_last)
    run = _runner(plain, keep, half)
    if gpu:
        return Compiled(plain, _Graph(run, example, keep), example)
    return Compiled(plain, _channels_last(run), example)


def _runner(network: Any, keep: bool, half: bool) -> Run:
    """Return a pass of a network as a function of tensors alone."""

    def run(x: Tensor, state: Sequence[Tensor] | None) -> Segmented:
        with torch.autocast('cuda', torch.float16, enabled=half, cache_enabled=False):
            if isinstance(network, MfsSeg):
                output = network(x, state, keep=keep)
                return Segmented(output.logits[-1].float(), tuple(output.potentials))
            return Segmented(*_spike2former(network, x, state, keep))

    return run


def _spike2former(
    network: Any, x: Tensor, state: Sequence[Tensor] | None, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return logits of the classes and the state of a Spike2Former."""
    from spikeseg_ros.models.spike2former.network import semantic

    output = network(x, state, keep=keep, last_only=True)
    classes, masks = output.class_logits[-1].float(), output.mask_logits[-1].float()
    return semantic(classes, masks, x.shape[2:]), tuple(output.state) if keep else ()


def _channels_last(run: Run) -> Run:
    """Hand images over with the channels last in memory, as the convolutions want them."""

    def call(x: Tensor, state: Sequence[Tensor] | None) -> Segmented:
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return run(x, state)

    return call


class _Graph:
    """A recorded pass with buffers of its own.

    Two graphs are kept where the state is: from rest, and going on.
    """

    def __init__(self, run: Run, example: Tensor, keep: bool) -> None:
        self._run = run
        self._input = _buffer(example)
        with torch.inference_mode():
            self._rested = self._record(None)
            self._going: tuple[torch.cuda.CUDAGraph, Segmented] | None = None
            self._state: tuple[Tensor, ...] = ()
            if keep:
                self._state = tuple(torch.zeros_like(item) for item in self._rested[1].state)
                self._going = self._record(self._state)

    def _record(self, state: tuple[Tensor, ...] | None) -> tuple[torch.cuda.CUDAGraph, Segmented]:
        """Run a few times beside the default stream, then record."""
        stream = torch.cuda.Stream(self._input.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._input.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._run(self._input, state)
        torch.cuda.current_stream(self._input.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._run(self._input, state)
        return graph, output

    def __call__(self, x: Tensor, state: Sequence[Tensor] | None) -> Segmented:
        """Replay; the results are copies, so that they outlive the next call."""
        if state and self._going is None:
            raise CompiledError('A state was given to a network made ready without keep.')
        self._input.copy_(x)
        graph, output = self._rested
        if state and self._going is not None:
            graph, output = self._going
            for buffer, item in zip(self._state, state, strict=True):
                buffer.copy_(item)
        graph.replay()
        return Segmented(output.logits.clone(), tuple(item.clone() for item in output.state))


def _buffer(example: Tensor) -> Tensor:
    """Return memory for inputs, images with the channels last."""
    if example.ndim == 4:
        return example.clone(memory_format=torch.channels_last)
    return example.clone()
