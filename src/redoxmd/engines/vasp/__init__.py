"""VASP engine: identity of its method, and checks of its settings before a run."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redoxmd.config import sections
from redoxmd.engines.base import Inspection, method_hash
from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.inputs import electronic_tags
from redoxmd.engines.vasp.large_files import file_bytes, retained_bytes
from redoxmd.engines.vasp.level import level_of
from redoxmd.engines.vasp.potcars import load_potcars
from redoxmd.engines.vasp.tags import EXCESS_ELECTRONS, is_numerical
from redoxmd.errors import EngineMissing

if TYPE_CHECKING:
    from redoxmd.engines.vasp.engine import VaspEngine

METHOD_VERSION = 1
# Below the first reach the k-points are coarse even for a wide-gap oxide; beyond the second they only cost time.
KPOINT_REACH_A = (8.0, 60.0)
# Largest ratio of divisions × length between two axes.
KPOINT_SKEW = 2.0


def physical_settings(settings: sections.EngineSettings) -> dict[str, Any]:
    """Settings that change energies and forces: method, POTCARs, k-points, and the free tags that are not numerical."""
    chosen = settings.vasp
    return {
        "functional": chosen.functional,
        "cutoff_eV": chosen.cutoff_eV,
        "hubbard": {element: [u.orbital, u.U_eV] for element, u in sorted(chosen.hubbard.items())},
        "kpoints": list(chosen.kpoints),
        "potcars": [chosen.potcar_family, dict(sorted(chosen.potcars.items()))],
        "precision": chosen.precision,
        "smearing_eV": chosen.smearing_eV,
        "energy_tolerance_eV": chosen.energy_tolerance_eV,
        "incar": {tag.upper(): value for tag, value in sorted(chosen.incar.items()) if not is_numerical(tag)},
    }


def available(settings: sections.EngineSettings) -> tuple[bool, str]:
    """Whether the program of `engine.vasp.command` is on PATH."""
    words = shlex.split(settings.vasp.command)
    # With an MPI launcher the program is the last word; the launcher must be on PATH as well.
    missing = [word for word in (words[-1:] + words[:1]) if shutil.which(word) is None]
    if not words or missing:
        program = missing[0] if missing else "vasp_std"
        return False, (
            f"no {program} found: it is not on PATH; set engine.vasp.command to the command that starts VASP here, or "
            "use config/nvp-gpaw.yaml, which needs no licence"
        )
    return True, f"{words[-1]} found"


def create(settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path | None) -> VaspEngine:
    """See `redoxmd.engines.get_engine`.

    Raises:
        EngineMissing: no program, or no folder to run it in.
    """
    is_available, message = available(settings)
    if not is_available:
        raise EngineMissing(message)
    if workdir is None:
        raise EngineMissing("vasp needs a folder to run in")
    from redoxmd.engines.vasp.engine import VaspEngine

    return VaspEngine(settings, repeats, workdir, method_hash("vasp", METHOD_VERSION, physical_settings(settings)))


def level_of_config(
    settings: sections.EngineSettings, elements: Sequence[str], cell_lengths_A: Sequence[float]
) -> Level:
    """The level of theory of calculations with these settings; without POTCAR titles if the files are missing."""
    chosen = settings.vasp
    try:
        titles = {element: potcar.title for element, potcar in load_potcars(elements, chosen).items()}
    except EngineMissing:
        titles = {}
    tags = electronic_tags(chosen, list(elements), None) | {key.upper(): value for key, value in chosen.incar.items()}
    # Spin polarisation depends on the moments of a structure, not on the settings.
    cell = np.diag(np.asarray(cell_lengths_A, dtype=float))
    level = level_of(tags, tags, elements, titles, cell, chosen.kpoints)
    # NELECT belongs to one cell; without it cells are neutral.
    excess = {} if "NELECT" in tags else {EXCESS_ELECTRONS: 0.0}
    return replace(level, spin=None, details=level.details | excess)


def inspect(
    settings: sections.EngineSettings, cells_A: Mapping[str, Sequence[float]], elements: Sequence[str]
) -> Inspection:
    """Problems and notes on POTCARs, k-points and parallel settings, before a run.

    Args:
        settings: section `engine`.
        cells_A: name → lengths a, b, c of the source cell, and of other cells with other k-points.
        elements: of the structures.
    """
    chosen = settings.vasp
    inspection = Inspection()
    try:
        potcars = load_potcars(elements, chosen)
    except EngineMissing as error:
        inspection.problems.append(str(error))
    else:
        titles = ", ".join(f"{potcar.title} ({potcar.sha256[:8]})" for potcar in potcars.values())
        inspection.notes.append(f"POTCARs: {titles}")
        above_cutoff = [potcar.label for potcar in potcars.values() if potcar.cutoff_eV > chosen.cutoff_eV]
        if above_cutoff:
            inspection.notes.append(
                f"engine.vasp.cutoff_eV: {chosen.cutoff_eV:g} is below the ENMAX of {', '.join(above_cutoff)}; raise it"
            )
    if (chosen.functional == "LDA") != chosen.potcar_family.startswith("LDA"):
        inspection.problems.append(
            f"engine.vasp.functional {chosen.functional} does not match POTCARs of {chosen.potcar_family}"
        )
    for name, lengths in cells_A.items():
        inspection.notes += _kpoint_notes(name, lengths, chosen.kpoints)
    tags = {tag.upper(): value for tag, value in chosen.incar.items()}
    kpar, ncore, kpoints = int(tags.get("KPAR", 1)), int(tags.get("NCORE", 1)), math.prod(chosen.kpoints)
    if kpar < 1 or ncore < 1 or chosen.ranks % (kpar * ncore):
        inspection.problems.append(
            f"engine.vasp.incar: KPAR {kpar} × NCORE {ncore} does not divide engine.vasp.ranks {chosen.ranks}"
        )
    if kpar > kpoints:
        inspection.problems.append(f"engine.vasp.incar: KPAR {kpar} exceeds the {kpoints} k-points of the source cell")
    return inspection


def disk_gb(settings: sections.EngineSettings, runs: Sequence[tuple[int, int]], source_atoms: int) -> dict[str, float]:
    """Disk space in GB: files of a running job, and files retained from runs of (atoms, steps)."""
    chosen = settings.vasp
    # Internal MD writes one file of each kind per segment, not per step.
    per_run = chosen.md_chunk_steps if chosen.md == "internal" else 1
    largest = max((atoms for atoms, _ in runs), default=source_atoms)
    retained = sum(retained_bytes(chosen, atoms, source_atoms) * -(-steps // per_run) for atoms, steps in runs)
    return {
        "VASP's files, each running job": sum(file_bytes(chosen, largest, source_atoms).values()) / 1e9,
        "VASP's files, kept (engine.vasp.files)": retained / 1e9,
    }


def _kpoint_notes(name: str, lengths_A: Sequence[float], kpoints: Sequence[int]) -> list[str]:
    reaches = [k * length for k, length in zip(kpoints, lengths_A, strict=True)]
    grid = "×".join(map(str, kpoints))
    low, high = KPOINT_REACH_A
    if min(reaches) < low:
        return [f"engine.vasp.kpoints: {grid} reaches {min(reaches):.1f} Å in {name}, coarse; {low:g} Å is a minimum"]
    if max(reaches) > high:
        return [
            f"engine.vasp.kpoints: {grid} reaches {max(reaches):.0f} Å in {name}, denser than needed for converged "
            "energies"
        ]
    if max(reaches) > KPOINT_SKEW * min(reaches):
        return [f"engine.vasp.kpoints: {grid} is uneven in {name}: {', '.join(f'{r:.0f}' for r in reaches)} Å"]
    return []
