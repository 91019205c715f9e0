"""Check of a compute node by a job that runs on it: `python -m redoxmd.runs.node REPORT [--gpu]` (`site_check`)."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from redoxmd.files.records import write_json


def node_problems(folder: Path, gpu: bool) -> list[str]:
    """Requirements of jobs that this machine does not meet, one line each.

    Args:
        folder: folder on the file system of the results.
        gpu: whether this machine should have a GPU.
    """
    from redoxmd.model.fast import build

    problems = []
    if build.kernels() is None:
        problems.append(
            "no compiled kernels, the potential is about ten times slower: load a module with g++ before the command, "
            "or set CXX"
        )
    if not os.access(build.cache_folder(), os.W_OK) or "redoxmd-" in build.cache_folder().name:
        problems.append(
            "the home folder cannot be written, each job compiles its kernels: set XDG_CACHE_HOME to a folder that can"
        )
    if gpu:
        import torch

        if not torch.cuda.is_available():
            problems.append(
                "torch sees no GPU: install a CUDA build of torch (make env TORCH=…), or set resources: gpu: 0"
            )
    return problems


if __name__ == "__main__":
    report = Path(sys.argv[1])
    write_json(report, {"node": socket.gethostname(), "problems": node_problems(report.parent, "--gpu" in sys.argv)})
