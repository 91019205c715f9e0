"""Repeated calls of a function on fixed buffers, on a GPU by replay of a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

logger = logging.getLogger("redoxmd")
T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]], streams: Sequence[torch.cuda.Stream]) -> list[T]:
    """Results of all works; on a GPU each on its stream, because one of them uses little of a GPU."""
    if not streams:
        return [work() for work in works]
    results, current = [], torch.cuda.current_stream(streams[0].device)
    for work, stream in zip(works, streams, strict=True):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            results.append(work())
    for stream in streams:
        current.wait_stream(stream)
    return results


class Replay:
    """Calls a function that works in place on fixed buffers; on a GPU it is captured and replayed.

    The first calls run uncaptured on the stream of the capture, as a capture requires. Each replay has a stream of its
    own, because the end of one graph clears the library workspaces of all graphs that were captured on its stream. A
    function that cannot be captured is called directly, with a warning. Without a GPU, or if `captured` is false, all
    calls are direct. `name` is that of the work in the warning.
    """

    def __init__(
        self, work: Callable[[], None], device: torch.device | None, captured: bool = True, name: str = "MD step"
    ) -> None:
        self.work, self.device, self.name = work, device, name
        self.wanted = captured and device is not None and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self.wanted else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self, times: int) -> None:
        """Call the function `times` times."""
        if self._graph is None and self._warm:
            self._capture()
        if self._graph is not None:
            for _ in range(times):
                self._graph.replay()
        elif self._stream is not None and self.wanted:
            current = torch.cuda.current_stream(self.device)
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                self._plainly(times)
            current.wait_stream(self._stream)
            self._warm = True
        else:
            self._plainly(times)

    def forget(self) -> None:
        """Discard the graph, because the buffers were replaced; the next calls capture a new one."""
        self._graph, self._warm = None, False

    @property
    def captured(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def _plainly(self, times: int) -> None:
        for _ in range(times):
            self.work()

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            current = torch.cuda.current_stream(self.device)
            try:
                with torch.cuda.graph(graph, stream=self._stream):
                    self.work()
                self._graph = graph
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                logger.warning("no CUDA graph of the %s (%s): it runs without", self.name, reason)
                self.wanted = self._warm = False
            finally:
                # A failed capture leaves its stream current.
                torch.cuda.set_stream(current)
