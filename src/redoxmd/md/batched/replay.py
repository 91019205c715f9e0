"""Repeated calls of a function on fixed buffers, on a GPU by replay of a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger("redoxmd")


class Replay:
    """Calls a function that works in place on fixed buffers; on a GPU it is captured and replayed.

    The first calls run uncaptured on a separate stream, as a capture requires. A function that cannot be captured is
    called directly, with a warning. Without a GPU, or if `captured` is false, all calls are direct.
    """

    def __init__(self, work: Callable[[], None], device: torch.device | None, captured: bool = True) -> None:
        self.work = work
        self.wanted = captured and device is not None and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self, times: int) -> None:
        """Call the function `times` times."""
        if self._graph is None and self._warm:
            self._capture()
        if self._graph is not None:
            for _ in range(times):
                self._graph.replay()
        elif self.wanted:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._plainly(times)
            torch.cuda.current_stream().wait_stream(stream)
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
        try:
            with torch.cuda.graph(graph):
                self.work()
        except RuntimeError as error:
            logger.warning("no CUDA graph of the MD step (%s): it runs without", str(error).splitlines()[0])
            self.wanted = self._warm = False
            return
        self._graph = graph
