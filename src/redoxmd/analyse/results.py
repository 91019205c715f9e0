"""Tables of trajectories of any code: each ion analysed on its own, files averaged and fitted over temperature."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from redoxmd.analyse.reference import reference_sites
from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import Summary, analyse_trajectory, summarise
from redoxmd.diffusion.framework import diffusing_elements, element_mask
from redoxmd.diffusion.jumps import without_drift
from redoxmd.diffusion.site_tables import trajectory_columns
from redoxmd.errors import DataError
from redoxmd.files.records import atomic_path
from redoxmd.files.trajectory import Trajectory
from redoxmd.units import FS_PER_PS

# Columns that rest on jumps or sites.
OF_JUMPS = r"jump|site|concerted|chance|neighbouring|exchange|leaving|entering|together|correlation|^n_returned$"
# Largest share of ions that may move beyond the jump distance from one frame to the next.
MAX_JUMPED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class MdResults(Summary):
    """Tables over all files, with those of `diffusion.analysis.Summary`; the column `ion` names the mobile element.

    Attributes:
        files: file, formula, ions, framework (elements), frames, interval and length, cell volume, remarks.
        msd: ion, structure, x, temperature_K, replica, lag_ps, msd_A2, sigma_A2 (collective coordinate of the ions).
        settings: of the analysis.
    """

    files: pd.DataFrame
    msd: pd.DataFrame
    settings: Diffusion

    def tables(self) -> dict[str, pd.DataFrame]:
        """Name → table."""
        return {name: value for name, value in vars(self).items() if isinstance(value, pd.DataFrame)}


def analyse_md(
    trajectories: Sequence[Trajectory],
    ions: Sequence[str],
    structure: str | Path | None = None,
    framework: Sequence[str] | None = None,
    settings: Diffusion | None = None,
    seed: int = 0,
    msd_only: bool = False,
) -> MdResults:
    """Diffusion, sites and jumps of mobile ions in trajectories (`reading.read_md`).

    Files of equal composition and temperature are replicas of each other. x is the number of ions per formula unit of
    the framework.

    Args:
        trajectories: one for each file.
        ions: mobile elements, each analysed on its own.
        structure: CIF or POSCAR with all sites of the first ion; None: sites are found from the density of visits.
        framework: its elements; None: all elements but the ions of which no atom moves by the jump distance.
        settings: distances, times and fits; None: defaults.
        seed: of the chance levels.
        msd_only: leave out all results that rest on jumps and sites, for frames that do not resolve jumps.

    Raises:
        DataError: an ion or a framework element is not in a file, or jumps are not resolved by the frames.
        StructureError: the structure does not fit a trajectory.
    """
    settings = settings or Diffusion()
    files, tables = [], []
    for ion in ions:
        replicas: Counter[tuple[float, float]] = Counter()
        analyses = []
        for trajectory in trajectories:
            outside = _outside_framework(trajectory, ion, ions, framework, settings)
            x = _content(trajectory, ion, outside)
            condition = (x, float(trajectory.metadata["temperature_K"]))
            metadata = {
                **trajectory.metadata,
                "structure": _name(trajectory, trajectories),
                "mobile_ion": ion,
                "x": x,
                "replica": replicas[condition],
            }
            replicas[condition] += 1
            named = replace(trajectory, metadata=metadata)
            if not msd_only:
                _refuse_unresolved(named, ion, outside, settings)
            sites = None
            if structure is not None and ion == ions[0]:
                sites = reference_sites(named, Path(structure), ion, outside)
            analyses.append(analyse_trajectory(named, settings, seed, sites, outside))
            files.append(_file_row(named, ion, outside, analyses[-1]))
        tables.append((ion, {**vars(summarise(analyses, settings)), "msd": _msd_table(analyses)}))
    names = [item.name for item in fields(Summary)] + ["msd"]
    joined = {name: _join([(ion, table[name]) for ion, table in tables]) for name in names}
    read = pd.DataFrame(files)
    if msd_only:
        read = read.drop(columns="sites")
        joined = {name: _without_jumps(name, table) for name, table in joined.items()}
    return MdResults(files=read, **joined, settings=settings)


def _without_jumps(name: str, table: pd.DataFrame) -> pd.DataFrame:
    if name in ("concerted", "events", "sites", "occupancy"):
        return table.iloc[:0]
    if name == "arrhenius":
        return table[["ion", "x", *table.filter(regex="^msd_")]]
    return table.drop(columns=table.filter(regex=OF_JUMPS))


def write_results(results: MdResults, folder: str | Path) -> None:
    """Write each table as CSV into a folder."""
    for name, table in results.tables().items():
        with atomic_path(Path(folder) / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def _outside_framework(
    trajectory: Trajectory, ion: str, ions: Sequence[str], framework: Sequence[str] | None, settings: Diffusion
) -> list[str]:
    """Elements besides the ion that do not belong to the framework.

    Raises:
        DataError: an element is not in the file.
    """
    elements = {chemical_symbols[number] for number in set(trajectory.numbers.tolist())}
    for option, named in (("--ion", ions), ("--framework", framework or [])):
        missing = sorted(set(named) - elements)
        if missing:
            raise DataError(f"{trajectory.source}: {option} {missing[0]}: the file has {', '.join(sorted(elements))}")
    if framework is not None:
        return sorted(elements - set(framework) - {ion})
    mobile = element_mask(trajectory.numbers, ions)
    return sorted({*ions, *diffusing_elements(trajectory, mobile, settings.jump_distance_A)} - {ion})


def _content(trajectory: Trajectory, ion: str, outside: Sequence[str]) -> float:
    """Ions per formula unit of the framework; 1 without a framework."""
    counts = Counter(trajectory.numbers.tolist())
    not_framework = {atomic_numbers[symbol] for symbol in (ion, *outside)}
    units = math.gcd(*(count for number, count in counts.items() if number not in not_framework))
    return counts[atomic_numbers[ion]] / units if units else 1.0


def _name(trajectory: Trajectory, trajectories: Sequence[Trajectory]) -> str:
    """File name, with folders where files of one name are analysed together."""
    path = Path(trajectory.source)
    repeated = sum(Path(item.source).name == path.name for item in trajectories) > 1
    return str(path) if repeated else path.name


def _refuse_unresolved(trajectory: Trajectory, ion: str, outside: Sequence[str], settings: Diffusion) -> None:
    """Raise a DataError if many ions move by a jump or more from frame to frame, so that jumps cannot be counted."""
    mobile = element_mask(trajectory.numbers, [ion])
    moving = mobile | element_mask(trajectory.numbers, outside)
    paths = without_drift(trajectory.positions_A, moving, atomic_masses[trajectory.numbers], selected=mobile)
    lengths_A = np.linalg.norm(np.diff(paths, axis=0), axis=2)
    share = float((lengths_A > settings.jump_distance_A).mean()) if lengths_A.size else 0.0
    if share > MAX_JUMPED_SHARE:
        interval_fs = float(trajectory.time_fs[1] - trajectory.time_fs[0])
        raise DataError(
            f"{trajectory.source}: {share:.0%} of the {ion} ions move by more than {settings.jump_distance_A:g} Å from "
            f"one frame to the next ({interval_fs:g} fs), so that jumps are not resolved; take --msd-only, or give "
            f"frames at most {max(1, int(interval_fs * MAX_JUMPED_SHARE / share))} fs apart"
        )


def _file_row(trajectory: Trajectory, ion: str, outside: Sequence[str], analysis: xr.Dataset) -> dict[str, object]:
    elements = {chemical_symbols[number] for number in trajectory.numbers.tolist()}
    counts = Counter(chemical_symbols[number] for number in trajectory.numbers.tolist())
    return {
        "ion": ion,
        "file": trajectory.metadata["structure"],
        "formula": "".join(f"{symbol}{count}" for symbol, count in sorted(counts.items())),
        "framework": " ".join(sorted(elements - {ion, *outside})),
        "temperature_K": trajectory.metadata["temperature_K"],
        "frames": len(trajectory.time_fs),
        "interval_fs": analysis["frame_interval_fs"].item(),
        "length_ps": analysis["duration_ps"].item(),
        "volume_A3": float(np.linalg.det(trajectory.cell_A)),
        "sites": analysis.attrs["site_origin"] or f"none: {analysis.attrs['no_sites']}",
        "remark": trajectory.metadata.get("note", ""),
    }


def _msd_table(analyses: Sequence[xr.Dataset]) -> pd.DataFrame:
    tables = [
        pd.DataFrame(
            {
                **trajectory_columns(analysis),
                "lag_ps": analysis["lag_fs"].to_numpy() / FS_PER_PS,
                "msd_A2": analysis["msd_A2"].to_numpy(),
                "sigma_A2": analysis["sigma_A2"].to_numpy(),
            }
        )
        for analysis in analyses
    ]
    return pd.concat(tables, ignore_index=True)


def _join(tables: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Tables of several ions as one, with the ion in the first column."""
    filled = [table.assign(ion=ion) for ion, table in tables if len(table)]
    joined = pd.concat(filled, ignore_index=True) if filled else tables[0][1].assign(ion="")
    return joined[["ion", *(column for column in joined if column != "ion")]]
