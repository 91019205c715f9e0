"""Dry runs without the second or two that Snakemake takes to import: each in a fresh fork of a process that has it."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["snakemake.cli", "redoxmd.runs.rules"])


def _run(arguments, folder, environment, streams):
    for descriptor, path in zip((1, 2), streams, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    main()


def dry_run_in_fork(arguments, folder, environment):
    """What `subprocess.run` gives of `snakemake` with these arguments."""
    with TemporaryDirectory() as scratch:
        streams = [Path(scratch) / name for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_run, args=(list(map(str, arguments)), str(folder), environment, streams))
        process.start()
        process.join()
        texts = [stream.read_text() for stream in streams]
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)
