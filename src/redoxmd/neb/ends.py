"""Both ends of a path, from the moves in the config or from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from redoxmd.config.sections import NebPath
from redoxmd.errors import ConfigError
from redoxmd.files.frames import read_frames
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.periodic_cell import PeriodicCell

SAME_CELL_A = 1e-3


def path_ends(atoms: Atoms, full_cell: Atoms, path: NebPath) -> tuple[Atoms, Atoms]:
    """Initial and final structure of a path, not relaxed, atoms in the same order and unwrapped along the path.

    Args:
        atoms: the structure that the path starts from.
        full_cell: the source cell, repeated.

    Raises:
        ConfigError: a site does not exist, an ion is missing at the start of a move, the end of a move is occupied, or
            the file does not hold the same atoms. The message lists the sites.
    """
    if path.final is not None:
        return atoms.copy(), _from_file(atoms, path.final, path.name)
    return atoms.copy(), _moved(atoms, Occupation(atoms, full_cell), path)


def _moved(atoms: Atoms, occupation: Occupation, path: NebPath) -> Atoms:
    """Final structure: all ions named by their sites are moved at once, by minimum-image displacements."""
    site_of = {label: site for site, label in enumerate(occupation.labels)}
    sites = occupation.sites_of(atoms.positions)
    ion_at = {int(site): int(ion) for site, ion in zip(sites, occupation.ions, strict=True)}
    key = f"neb.paths, {path.name}, moves"
    unknown = [label for move in path.moves for label in move if label not in site_of]
    if unknown:
        raise ConfigError(f"{key}: no site {unknown[0]}; {_sites(occupation, ion_at)}")
    moves = [(site_of[start], site_of[end]) for start, end in path.moves]
    vacant = [start for start, _ in moves if start not in ion_at]
    if vacant:
        raise ConfigError(f"{key}: no ion at {occupation.labels[vacant[0]]}; {_sites(occupation, ion_at)}")
    after = [*(set(ion_at) - {start for start, _ in moves}), *(end for _, end in moves)]
    twice = [site for site in after if after.count(site) > 1]
    if twice or len({start for start, _ in moves}) < len(moves):
        raise ConfigError(
            f"{key}: an ion moves twice, or two meet at {occupation.labels[(twice or [moves[0][0]])[0]]}; "
            f"{_sites(occupation, ion_at)}"
        )
    final = atoms.copy()
    # Every ion moves from the initial structure, so that the order of the moves does not matter.
    for start, end in moves:
        positions = atoms.positions.copy()
        occupation.move(positions, ion_at[start], end)
        final.positions[ion_at[start]] = positions[ion_at[start]]
    return occupation.with_current_sites(final)


def _sites(occupation: Occupation, ion_at: dict[int, int]) -> str:
    """Text that lists the occupied and the empty sites."""
    full = [label for site, label in enumerate(occupation.labels) if site in ion_at]
    empty = [label for site, label in enumerate(occupation.labels) if site not in ion_at]
    return f"ions are at {', '.join(full) or 'none'}; empty are {', '.join(empty) or 'none'}"


def _from_file(atoms: Atoms, file: Path, name: str) -> Atoms:
    frames = read_frames(file)
    same = len(frames) > 0 and np.array_equal(frames[-1].numbers, atoms.numbers)
    if not same or not np.allclose(frames[-1].cell, atoms.cell, rtol=0, atol=SAME_CELL_A):
        raise ConfigError(
            f"neb.paths, {name}, final: {file} does not hold the start's {len(atoms)} atoms in its order and cell; "
            "take the structure that the path starts from and move its ions"
        )
    final = atoms.copy()
    displacements = frames[-1].positions - atoms.positions
    final.positions = atoms.positions + PeriodicCell(np.asarray(atoms.cell)).minimum_image(displacements)
    return final
