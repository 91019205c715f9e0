"""Import of the densities beside calculations, each of an accepted last frame with the same structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from redoxmd.archive.report import ImportReport, ReportEntry
from redoxmd.density.exchange.chgcar import read_chgcar
from redoxmd.density.grid import Density
from redoxmd.density.store import density_key, write_densities
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import DensityRefusal, DensityRefused, LabelRefusal
from redoxmd.structures.periodic_cell import SAME_POSITION_A, misplacements_A, same_cell


@dataclass(frozen=True)
class PendingChgcar:
    """A CHGCAR to import.

    Attributes:
        path: of the CHGCAR.
        frame: last frame of its calculation; None if the file of the calculation ends early.
        key: configuration and step of the accepted frame; None if it was refused.
        oxidation: (n,) oxidation states of the accepted frame; None if they are not assigned.
    """

    path: Path
    frame: ReadFrame | None
    key: tuple[str, int] | None
    oxidation: np.ndarray | None = None


def import_chgcars(pending: Iterable[PendingChgcar], store: Path, report: ImportReport) -> Path | None:
    """Write the accepted densities into a store, one at a time in memory; None, and no store, if there are none."""
    write_densities(store, _accepted(pending, report))
    if report.densities:
        return store
    store.unlink()
    return None


def _accepted(pending: Iterable[PendingChgcar], report: ImportReport) -> Iterator[tuple[str, Density]]:
    for chgcar in pending:
        if chgcar.frame is None or chgcar.key is None:
            report.refused_densities.append(
                ReportEntry(chgcar.path, None, LabelRefusal.UNFINISHED, "the last frame beside it was not accepted")
            )
            continue
        try:
            density = read_chgcar(chgcar.path)
            _check_structure(density, chgcar.frame)
        except Exception as error:
            refused = (
                error if isinstance(error, DensityRefused) else DensityRefused(DensityRefusal.UNREADABLE, str(error))
            )
            report.refused_densities.append(ReportEntry(chgcar.path, chgcar.frame.step, refused.reason, refused.detail))
            continue
        key = density_key(*chgcar.key)
        report.densities.append(key)
        yield key, replace(density, moments_muB=chgcar.frame.moments_muB, oxidation=chgcar.oxidation)


def _check_structure(density: Density, frame: ReadFrame) -> None:
    """Raise wrong_shape if the density belongs to another structure than the frame."""
    atoms = frame.atoms
    if not np.array_equal(density.numbers, atoms.numbers) or not same_cell(density.cell_A, atoms.cell):
        raise DensityRefused(DensityRefusal.WRONG_SHAPE, "its atoms or its cell are not those of the last frame")
    away_A = misplacements_A(density.positions_A, atoms).max()
    if not away_A <= SAME_POSITION_A:
        raise DensityRefused(
            DensityRefusal.WRONG_SHAPE, f"its atoms lie up to {away_A:.4f} Å from those of the last frame"
        )
