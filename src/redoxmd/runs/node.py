"""What a compute node has, told by a job on it: `python -m redoxmd.runs.node REPORT [--gpu]`; see `preflight`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from redoxmd.files.records import write_json


def problems_here(folder: Path, gpu: bool) -> list[str]:
    """What jobs would miss on this machine, one line each.

    Args:
        folder: on the file system of the results.
        gpu: whether a GPU is meant to be here.
    """
    from redoxmd.model.fast import build

    found = []
    if build.kernels() is None:
        found.append(
            "no compiled kernels, the potential is about ten times slower: load a module with g++ before the command, "
            "or set CXX"
        )
    if not os.access(build.cache_folder(), os.W_OK) or "redoxmd-" in build.cache_folder().name:
        found.append(
            "the home folder cannot be written, each job compiles its kernels: set XDG_CACHE_HOME to a folder that can"
        )
    if gpu:
        import torch

        if not torch.cuda.is_available():
            found.append(
                "torch sees no GPU: install a CUDA build of torch (make env TORCH=…), or set resources: gpu: 0"
            )
    return found


if __name__ == "__main__":
    report = Path(sys.argv[1])
    write_json(report, {"node": socket.gethostname(), "problems": problems_here(report.parent, "--gpu" in sys.argv)})
