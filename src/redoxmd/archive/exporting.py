"""Export of labelled frames to the files of other machine-learned potentials, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml
from ase import Atoms
from ase.io import iread

from redoxmd.archive.deepmd import export_deepmd
from redoxmd.archive.target import dataset_frames
from redoxmd.errors import DataError
from redoxmd.files.frames import frame_text
from redoxmd.files.records import atomic_path, write_text
from redoxmd.train.dataset import read_dataset_card

# Set → stem of its file.
SET_FILES = {"train": "train", "validation": "valid", "test": "test"}
NEQUIP_CUTOFF_A = 5.0


def export_frames(source: str | Path, form: str, to: str | Path) -> list[Path]:
    """Write the frames of a dataset folder or an extended XYZ file for another code.

    Args:
        source: a dataset folder, or a file such as `results/RUN/train/gen0/dataset.extxyz`.
        form: extxyz, mace, nequip or deepmd.
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


def read_labelled(source: Path) -> Iterator[Atoms]:
    """Frames of a dataset folder or file, one at a time.

    Raises:
        DataError: there are no frames, a file cannot be read, or a frame has no energy and forces.
    """
    if not source.exists():
        raise DataError(f"{source}: no such dataset folder or file of frames")
    count = 0
    try:
        frames = dataset_frames(source, read_dataset_card(source)) if source.is_dir() else _file_frames(source)
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


def _file_frames(path: Path) -> Iterator[Atoms]:
    if path.stat().st_size:
        yield from iread(path, index=":", format="extxyz")


def _extxyz(source: Path, to: Path) -> list[Path]:
    with atomic_path(to) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for frame in read_labelled(source):
            stream.write(frame_text(frame, str(source)))
    return [to]


def _mace(source: Path, to: Path) -> list[Path]:
    return _by_set(source, to, ".xyz", _for_mace)


def _for_mace(frame: Atoms) -> Atoms:
    """A copy with labels under REF_ names, which ASE does not read as results, as MACE recommends."""
    results = frame.calc.results
    renamed = _without_labels(frame)
    renamed.info["REF_energy"] = float(results["energy"])
    renamed.arrays["REF_forces"] = np.asarray(results["forces"])
    if "stress" in results:
        renamed.info["REF_stress"] = frame.get_stress(voigt=False)
    return renamed


def _without_labels(frame: Atoms) -> Atoms:
    geometry = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    geometry.info = {key: frame.info[key] for key in ("config_id", "step") if key in frame.info}
    return geometry


def _nequip(source: Path, to: Path) -> list[Path]:
    symbols: set[str] = set()
    labels: set[str] = set()

    def record_labels(frame: Atoms) -> Atoms:
        symbols.update(frame.symbols)
        labels.update({"energy", "forces", "stress"} & frame.calc.results.keys())
        return frame

    files = _by_set(source, to, ".extxyz", record_labels)
    card = {
        "cutoff_radius": NEQUIP_CUTOFF_A,
        "chemical_symbols": sorted(symbols),
        "model_type_names": "${chemical_symbols}",
        "data": {"_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1, **_nequip_files(files)},
        "labels": sorted(labels),
        "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, positive under tension"},
    }
    write_text(to / "nequip.yaml", yaml.safe_dump(card, sort_keys=False, allow_unicode=True))
    return [*files, to / "nequip.yaml"]


def _nequip_files(files: list[Path]) -> dict[str, Any]:
    """Paths under NequIP's keys; without a validation file, the training file is split 0.9 to 0.1."""
    names = {path.stem: path.name for path in files}
    if "valid" not in names:
        share: dict[str, Any] = {"file_path": names.get("train", files[0].name), "train": 0.9, "val": 0.1}
        return {"split_dataset": share}
    keys = {"train": "train_file_path", "valid": "val_file_path", "test": "test_file_path"}
    return {key: names[stem] for stem, key in keys.items() if stem in names}


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


FORMS: dict[str, Callable[[Path, Path], list[Path]]] = {
    "extxyz": _extxyz,
    "mace": _mace,
    "nequip": _nequip,
    "deepmd": lambda source, to: export_deepmd(read_labelled(source), to),
}
