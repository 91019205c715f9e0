"""VASP: what the config must have for it, and the identity of its method."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redoxmd.config import sections
from redoxmd.engines.base import Inspection, method_hash
from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.tags import EXCESS, is_numerical
from redoxmd.errors import EngineMissing

if TYPE_CHECKING:
    from redoxmd.engines.vasp.engine import VaspEngine

METHOD_VERSION = 1
# A smaller reach of the k-points than this is coarse even for a wide-gap oxide; beyond the other they cost for nothing.
KPOINT_REACH_A = (8.0, 60.0)
# Divisions × length should be alike along the axes.
KPOINT_SKEW = 2.0


def physical_settings(settings: sections.Engine) -> dict[str, Any]:
    """What changes energies and forces: method, POTCARs, k-points, and those of the free tags that do."""
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


def available(settings: sections.Engine) -> tuple[bool, str]:
    """Whether the program of `engine.vasp.command` is on PATH."""
    words = shlex.split(settings.vasp.command)
    # With an MPI launcher the program is the last word, and the launcher must be there too.
    missing = [word for word in (words[-1:] + words[:1]) if shutil.which(word) is None]
    if not words or missing:
        program = missing[0] if missing else "vasp_std"
        return False, (
            f"no {program} found: it is not on PATH; set engine.vasp.command to the command that starts VASP here, or "
            "use config/nvp-gpaw.yaml, which needs no licence"
        )
    return True, f"{words[-1]} found"


def create(settings: sections.Engine, repeats: Sequence[int], workdir: Path | None) -> VaspEngine:
    """See `redoxmd.engines.get_engine`.

    Raises:
        EngineMissing: no program, or no folder to run it in.
    """
    found, message = available(settings)
    if not found:
        raise EngineMissing(message)
    if workdir is None:
        raise EngineMissing("vasp needs a folder to run in")
    from redoxmd.engines.vasp.engine import VaspEngine

    return VaspEngine(settings, repeats, workdir, method_hash("vasp", METHOD_VERSION, physical_settings(settings)))


def level_of_config(settings: sections.Engine, elements: Sequence[str], cell_lengths_A: Sequence[float]) -> Level:
    """The level of theory that calculations of these settings have; POTCAR titles where the files are at hand."""
    from redoxmd.engines.vasp.inputs import electronic_tags
    from redoxmd.engines.vasp.level import level_of
    from redoxmd.engines.vasp.potcars import load_potcars

    chosen = settings.vasp
    try:
        titles = {element: potcar.title for element, potcar in load_potcars(elements, chosen).items()}
    except EngineMissing:
        titles = {}
    tags = electronic_tags(chosen, list(elements), None) | {key.upper(): value for key, value in chosen.incar.items()}
    # Spin comes with the moments of a structure, which the settings do not know.
    level = level_of(tags, list(elements), titles, _cell(cell_lengths_A), chosen.kpoints, incar=tags)
    # A number of electrons goes with a cell; without one cells are neutral.
    excess = {} if "NELECT" in tags else {EXCESS: 0.0}
    return replace(level, spin=None, details=level.details | excess)


def inspect(settings: sections.Engine, cells_A: Mapping[str, Sequence[float]], elements: Sequence[str]) -> Inspection:
    """POTCARs, k-points and parallel settings, before anything starts.

    Args:
        settings: section `engine`.
        cells_A: name → lengths a, b, c of the source cell, and of others if k-points differ.
        elements: that the structures hold.
    """
    from redoxmd.engines.vasp.potcars import load_potcars

    chosen = settings.vasp
    found = Inspection()
    try:
        potcars = load_potcars(elements, chosen)
    except EngineMissing as error:
        found.problems.append(str(error))
    else:
        titles = ", ".join(f"{potcar.title} ({potcar.sha256[:8]})" for potcar in potcars.values())
        found.notes.append(f"POTCARs: {titles}")
        hungry = [potcar.label for potcar in potcars.values() if potcar.cutoff_eV > chosen.cutoff_eV]
        if hungry:
            found.notes.append(
                f"engine.vasp.cutoff_eV: {chosen.cutoff_eV:g} is below the ENMAX of {', '.join(hungry)}; raise it"
            )
    if (chosen.functional == "LDA") != chosen.potcar_family.startswith("LDA"):
        found.problems.append(
            f"engine.vasp.functional {chosen.functional} does not go with POTCARs of {chosen.potcar_family}"
        )
    found.notes += [line for name, lengths in cells_A.items() for line in _kpoint_notes(name, lengths, chosen.kpoints)]
    found.problems += _parallel_problems(chosen)
    return found


def disk_gb(settings: sections.Engine, runs: Sequence[tuple[int, int]], source_atoms: int) -> dict[str, float]:
    """Files of a running job, and those that the policy keeps, of runs of (atoms, steps)."""
    from redoxmd.engines.vasp.disk import file_bytes, kept_bytes

    chosen = settings.vasp
    # Internal MD writes one file of each kind a piece, not a step.
    per_run = chosen.md_chunk_steps if chosen.md == "internal" else 1
    largest = max((atoms for atoms, _ in runs), default=source_atoms)
    kept = sum(kept_bytes(chosen, atoms, source_atoms) * -(-steps // per_run) for atoms, steps in runs)
    return {
        "VASP's files, each running job": sum(file_bytes(chosen, largest, source_atoms).values()) / 1e9,
        "VASP's files, kept (engine.vasp.files)": kept / 1e9,
    }


def _kpoint_notes(name: str, lengths_A: Sequence[float], kpoints: Sequence[int]) -> list[str]:
    reaches = [k * length for k, length in zip(kpoints, lengths_A, strict=True)]
    grid = "×".join(map(str, kpoints))
    low, high = KPOINT_REACH_A
    if min(reaches) < low:
        return [f"engine.vasp.kpoints: {grid} reaches {min(reaches):.1f} Å in {name}, coarse; {low:g} Å is a minimum"]
    if max(reaches) > high:
        return [f"engine.vasp.kpoints: {grid} reaches {max(reaches):.0f} Å in {name}, more than energies notice"]
    if max(reaches) > KPOINT_SKEW * min(reaches):
        return [f"engine.vasp.kpoints: {grid} is uneven in {name}: {', '.join(f'{r:.0f}' for r in reaches)} Å"]
    return []


def _parallel_problems(chosen: sections.Vasp) -> list[str]:
    """KPAR and NCORE must divide the ranks, and k-point groups beyond the k-points idle."""
    tags = {tag.upper(): value for tag, value in chosen.incar.items()}
    kpar, ncore = int(tags.get("KPAR", 1)), int(tags.get("NCORE", 1))
    a, b, c = chosen.kpoints
    problems = []
    if kpar < 1 or ncore < 1 or chosen.ranks % (kpar * ncore):
        problems.append(
            f"engine.vasp.incar: KPAR {kpar} × NCORE {ncore} does not divide engine.vasp.ranks {chosen.ranks}"
        )
    if kpar > a * b * c:
        problems.append(f"engine.vasp.incar: KPAR {kpar} exceeds the {a * b * c} k-points of the source cell")
    return problems


def _cell(lengths_A: Sequence[float]) -> Any:
    import numpy as np

    return np.diag(np.asarray(lengths_A, dtype=float))
