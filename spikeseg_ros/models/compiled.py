# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks made ready for the shapes of their inputs.

CPU: normalisation folded, channels last. GPU: the same as a CUDA graph with buffers of its own,
so that a frame costs one launch; on request the convolutions in half precision, with the input of
neurons in float32. `compiled` is for one shape, `Prepared` for those that come.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.spiking.energy import counting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from spikeseg_ros.models.spike2former import Spike2Former

    Run = Callable[[Tensor, Sequence[Tensor] | None], 'Segmented']

# Passes before a graph is recorded: libraries choose their kernels and allocate.
_WARM_UP = 3
# Shapes of input that stay ready: a graph holds the memory of a whole pass.
SHAPES = 4


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
            return self._run(x, state or None)


class Prepared:
    """A network for inputs of any shape, each made ready when it comes for the first time.

    On a GPU that is a graph; those of the last few shapes are kept. Where no graph can be
    recorded, inputs of that shape run without one, and so does every input while its operations
    are counted, because a probe does not hear a graph. Not for concurrent calls.

    Args:
        network: The network, folded or not; it is copied.
        device: 'cpu' or 'cuda'; where inputs lie.
        keep: Return the state behind each input; otherwise every input starts from rest.
        half: GPU: convolutions in float16.

    Attributes:
        network: The folded network that runs, plain; its operations can be counted.
        notes: What the user should know: shapes without a graph, and why.

    Raises:
        CompiledError: `half` is asked for on a CPU.
    """

    def __init__(
        self,
        network: MfsSeg | Spike2Former,
        device: str,
        *,
        keep: bool = False,
        half: bool = False,
    ) -> None:
        self.network, self._run = _plain(network, torch.device(device), keep, half)
        self._keep = keep
        self._ready: OrderedDict[torch.Size, Compiled] = OrderedDict()
        self._failed: set[torch.Size] = set()
        self.notes: tuple[str, ...] = ()

    def __call__(self, x: Tensor, state: Sequence[Tensor] | None = None) -> Segmented:
        """Segment an input.

        Args:
            x: Normalised images (B, C, H, W) or event frames (T, B, C, H, W), on the device.
            state: What an earlier call returned for this shape; neurons at rest where None.

        Raises:
            ValueError: The input does not fit the network, or the state not the input.
        """
        if counting():
            with torch.inference_mode():
                return self._run(x, state or None)
        ready = self._ready.pop(x.shape, None)
        if ready is None:
            if len(self._ready) >= SHAPES:
                self._ready.popitem(last=False)
            ready = self._made(x)
        self._ready[x.shape] = ready
        return ready(x, state)

    def _made(self, x: Tensor) -> Compiled:
        """Return the network made ready for inputs like x."""
        if not _takes_graphs(x.device) or x.shape in self._failed:
            return Compiled(self.network, self._run, x)
        try:
            return Compiled(self.network, _Graph(self._run, x, self._keep), x)
        except RuntimeError as err:
            self._failed.add(x.shape)
            note = f'Inputs {tuple(x.shape)!r} run without a CUDA graph, more slowly: '
            self.notes += (note + _reason(err),)
        # Behind the handler, because the error holds what was recorded so far.
        torch.cuda.empty_cache()
        return Compiled(self.network, self._run, x)


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
    plain, run = _plain(network, example.device, keep, half)
    if _takes_graphs(example.device):
        run = _Graph(run, example, keep)
    return Compiled(plain, run, example)


def _plain(
    network: MfsSeg | Spike2Former, device: torch.device, keep: bool, half: bool
) -> tuple[Any, Run]:
    """Return a folded copy of a network on a device, and its pass as a function of tensors.

    Raises:
        CompiledError: `half` is asked for on a CPU.
    """
    if half and not _takes_graphs(device):
        raise CompiledError('Half precision is for GPUs; leave half out.')
    folded: Any = network.folded().to(device)
    once = _mfs_seg if isinstance(network, MfsSeg) else _spike2former
    if isinstance(network, MfsSeg) or _takes_graphs(device):
        # The CPU orders the weights of a Spike2Former itself, by the layout of its maps.
        folded = folded.to(memory_format=torch.channels_last)

    def run(x: Tensor, state: Sequence[Tensor] | None) -> Segmented:
        if x.ndim == 4:
            # As the convolutions want them.
            x = x.contiguous(memory_format=torch.channels_last)
        return once(folded, x, state, keep, half)

    return folded, run


def _takes_graphs(device: torch.device) -> bool:
    """Say whether passes on a device can be recorded."""
    return device.type == 'cuda'


def _precision(half: bool) -> AbstractContextManager[object]:
    """Return the context of a pass; weights are converted in every pass, as graphs need it."""
    return torch.autocast('cuda', torch.float16, cache_enabled=False) if half else nullcontext()


def _mfs_seg(
    network: Any, x: Tensor, state: Sequence[Tensor] | None, keep: bool, half: bool
) -> Segmented:
    """Run a pass of an MfsSeg."""
    with _precision(half):
        output = network(x, state, keep=keep)
    return Segmented(output.logits[-1].float(), tuple(output.potentials))


def _spike2former(
    network: Any, x: Tensor, state: Sequence[Tensor] | None, keep: bool, half: bool
) -> Segmented:
    """Run a pass of a Spike2Former."""
    from spikeseg_ros.models.spike2former.network import semantic

    with _precision(half):
        output = network(x, state, keep=keep, last_only=True)
    # In float32: classes that are close must not become equal.
    classes, masks = output.class_logits[-1].float(), output.mask_logits[-1].float()
    carried = tuple(output.state) if keep else ()
    return Segmented(semantic(classes, masks, x.shape[2:]), carried)


def _reason(err: RuntimeError) -> str:
    """Return the first line of what stopped a recording."""
    # A recording that was stopped ends with an error of its own, which hides the cause.
    cause = err.__context__ if isinstance(err.__context__, RuntimeError) else err
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


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
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._input.device)
        try:
            # Other threads may allocate meanwhile.
            with torch.cuda.graph(graph, capture_error_mode='thread_local'):
                output = self._run(self._input, state)
        finally:
            # A recording that fails leaves its own stream behind as the current one.
            torch.cuda.set_stream(before)
        return graph, output

    def __call__(self, x: Tensor, state: Sequence[Tensor] | None) -> Segmented:
        """Replay; the results are copies, so that they outlive the next call."""
        graph, output = self._rested
        if state:
            if self._going is None:
                raise CompiledError('A state was given to a network made ready without keep.')
            # A copy would stretch a single value over a whole map.
            if [item.shape for item in state] != [item.shape for item in self._state]:
                raise CompiledError('The state is that of other inputs; begin with a new one.')
            graph, output = self._going
            for buffer, item in zip(self._state, state, strict=True):
                buffer.copy_(item)
        self._input.copy_(x)
        graph.replay()
        return Segmented(output.logits.clone(), tuple(item.clone() for item in output.state))


def _buffer(example: Tensor) -> Tensor:
    """Return memory for inputs, images with the channels last."""
    if example.ndim == 4:
        return example.clone(memory_format=torch.channels_last)
    return example.clone()
