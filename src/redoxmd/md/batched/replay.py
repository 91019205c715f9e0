"""The same work over the same buffers again and again: as a CUDA graph where there is a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger("redoxmd")


class Replay:
    """Calls a function that works in place on buffers that stay; on a GPU it is captured and replayed.

    The first calls run as they are, on a stream of their own, which is what a capture wants before it; whatever cannot
    be captured goes on like that, with a warning. Elsewhere, or if `captured` is refused, all calls are plain.
    """

    def __init__(self, work: Callable[[], None], device: torch.device | None, captured: bool = True) -> None:
        self.work = work
        self.wanted = captured and device is not None and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self, times: int) -> None:
        """Do the work so many times."""
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
        """The buffers were exchanged: capture anew."""
        self._graph, self._warm = None, False

    @property
    def captured(self) -> bool:
        """Whether a graph is what runs."""
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
