"""Export of labelled frames to the files of other potentials, one frame in memory at a time, and of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.io import iread

from redoxmd.archive.colabfit import export_colabfit
from redoxmd.archive.deepmd import export_deepmd
from redoxmd.archive.target import dataset_frames
from redoxmd.errors import DataError
from redoxmd.files.frames import frame_text
from redoxmd.files.records import atomic_path
from redoxmd.train.dataset import read_dataset_card

# Set → stem of its file.
SET_FILES = {"train": "train", "validation": "valid", "test": "test"}


def export_frames(source: str | Path, form: str, to: str | Path) -> list[Path]:
    """Write the frames of a dataset folder or an extended XYZ file for another code.

    Args:
        source: a dataset folder, or a file such as `results/RUN/train/gen0/dataset.extxyz`.
        form: extxyz, mace, nequip, deepmd or colabfit.
        to: a file for extxyz, else a folder.

    Returns:
        The files written.

    Raises:
        DataError: nothing to export, a frame without energy and forces, or `to` exists already.
    """
    source, to = Path(source), Path(to)
    if to.is_dir() if form == "extxyz" else (to.exists() and (to.is_file() or any(to.iterdir()))):
        raise DataError(f"{to}: exists already; choose another name or remove it")
    return FORMS[form](source, to)


def export_ensemble(source: str | Path, to: str | Path) -> list[str]:
    """Write an ensemble as a metatomic model, for LAMMPS, ASE and other programs (`redoxmd.archive.metatomic`).

    Args:
        source: a file such as `results/RUN/train/gen0/ensemble.pt`.
        to: the file of the model.

    Returns:
        A line for each species: its atomic type in the model.

    Raises:
        DataError: the source is no ensemble, `to` exists already, or metatomic is not installed.
    """
    if Path(to).exists():
        raise DataError(f"{to}: exists already; choose another name or remove it")
    try:
        from redoxmd.archive.metatomic import export_metatomic
    except ImportError as error:
        raise DataError(f"metatomic: not installed ({error}); pip install metatomic-torch metatomic-ase") from error
    return export_metatomic(Path(source), Path(to))


def read_labelled(source: Path) -> Iterator[Atoms]:
    """Frames of a dataset folder or file, one at a time.

    Raises:
        DataError: there are no frames, a file cannot be read, or a frame has no energy and forces.
    """
    if not source.exists():
        raise DataError(f"{source}: no such dataset folder or file of frames")
    count = 0
    try:
        if source.is_dir():
            frames = dataset_frames(source, read_dataset_card(source))
        else:
            frames = iread(source, index=":", format="extxyz") if source.stat().st_size else iter(())
        for count, frame in enumerate(frames, start=1):
            results = {} if frame.calc is None else frame.calc.results
            if "energy" not in results or "forces" not in results:
                raise DataError(
                    f"{source}: frame {count - 1} has no energy and forces; only labelled frames are exported"
                )
            yield frame
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source}: not readable after {count} frames ({error}); restore it") from error
    if not count:
        raise DataError(f"{source}: no frames to export")


def _extxyz(source: Path, to: Path) -> list[Path]:
    with atomic_path(to) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for frame in read_labelled(source):
            stream.write(frame_text(frame, str(source)))
    return [to]


def _for_mace(frame: Atoms) -> Atoms:
    """A copy with labels under REF_ names, which ASE does not read as results, as MACE recommends."""
    results = frame.calc.results
    renamed = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    renamed.info = {key: frame.info[key] for key in ("config_id", "step") if key in frame.info}
    renamed.info["REF_energy"] = float(results["energy"])
    renamed.arrays["REF_forces"] = np.asarray(results["forces"])
    if "stress" in results:
        renamed.info["REF_stress"] = frame.get_stress(voigt=False)
    return renamed


def _by_set(source: Path, to: Path, suffix: str, change: Callable[[Atoms], Atoms]) -> list[Path]:
    """Write a file for each set; frames without a set go to the training set."""
    streams: dict[str, IO[str]] = {}
    files: list[Path] = []
    with ExitStack() as stack:
        for frame in read_labelled(source):
            name = SET_FILES.get(str(frame.info.get("set", "train")), "train")
            if name not in streams:
                files.append(to / f"{name}{suffix}")
                temporary = stack.enter_context(atomic_path(files[-1]))
                streams[name] = stack.enter_context(temporary.open("w", encoding="utf-8"))
            streams[name].write(frame_text(change(frame), str(source)))
    return sorted(files)


def _with_card(source: Path, to: Path) -> list[Path]:
    """Frames and card for the ColabFit Exchange; a card of the dataset folder is used."""
    card = read_dataset_card(source) if source.is_dir() else {}
    return export_colabfit(read_labelled(source), card, to, str(source))


FORMS: dict[str, Callable[[Path, Path], list[Path]]] = {
    "extxyz": _extxyz,
    "mace": lambda source, to: _by_set(source, to, ".xyz", _for_mace),
    "nequip": lambda source, to: _by_set(source, to, ".extxyz", lambda frame: frame),
    "colabfit": _with_card,
    "deepmd": lambda source, to: export_deepmd(read_labelled(source), to),
}
