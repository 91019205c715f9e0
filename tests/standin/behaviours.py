"""What the stand-in does, start by start, read from a file that all starts share."""

import fcntl
import json
import os
import time
from pathlib import Path

VARIABLE = "REDOXMD_STANDIN"
WORDS = {
    "fine": "writes everything",
    "slow": "fine, after `slow:SECONDS`",
    "nelm": "every self-consistency uses up NELM",
    "nelm_once": "that of the second ionic step does, or the only one",
    "unfinished": "stops in the middle of its files, exit code 0",
    "hang": "writes half and sleeps",
    "hang_deaf": "hang, and ignores SIGTERM",
    "endless": "prints lines for ever",
    "children": "hang, with a child that ignores SIGTERM in a process group of its own",
    "lingering": "fine, but leaves a sleeping child behind",
    "killed": "sends itself SIGKILL half way",
    "crash": "segmentation fault half way, exit code 139",
    "oom": "half, an out-of-memory message, exit code 137",
    "brmix": "prints BRMIX: very serious problems half way and stops",
    "zpotrf": "prints LAPACK: Routine ZPOTRF failed half way and stops",
    "tet": "prints Tetrahedron method fails half way and stops",
    "no_start": "command not found, exit code 127",
    "mpi_abort": "MPI fails before VASP starts, exit code 1",
    "stale": "exits at once and writes nothing",
    "backdated": "fine, but its files are of yesterday",
    "empty_contcar": "an empty CONTCAR",
    "stars": "energies as ****",
    "nan_forces": "one force is NaN",
    "huge_force": "one force of 999 eV/Å",
    "wrong_order": "the first two atoms of different species change places",
    "wrong_positions": "the first atom moved by 0.5 Å",
    "wrong_moment": "no local moments",
    "wrong_charge": "NELECT one more",
    "other_encut": "ENCUT 50 eV less",
}


def write_behaviours(path, words):
    unknown = {word.partition(":")[0] for word in words} - set(WORDS)
    if unknown or not words:
        raise ValueError(f"the stand-in knows {sorted(WORDS)}, not {sorted(unknown)}")
    with Path(path).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _rewrite(file, {"words": list(words), "starts": []})


def next_behaviour():
    """The word of this start, with its argument; the last one repeats. Each start takes one, whoever else starts."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return "fine", ""
    with Path(path).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        record = json.load(file)
        word = record["words"][min(len(record["starts"]), len(record["words"]) - 1)]
        record["starts"].append({"word": word, "pid": os.getpid(), "folder": str(Path.cwd()), "time": time.time()})
        _rewrite(file, record)
    name, _, argument = word.partition(":")
    return name, argument


def _rewrite(file, record):
    file.seek(0)
    file.truncate()
    json.dump(record, file)
    # Before the lock goes.
    file.flush()


def starts(path):
    """The log: one entry for each start."""
    with Path(path).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return json.load(file)["starts"]
