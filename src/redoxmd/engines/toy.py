"""An analytic ionic crystal with a known redox density: an engine for tests of the whole loop, with known results.

Energy: pairs of screened formal charges and Born–Mayer repulsion, cut smoothly,

    V_ab(r) = [s·k_e·q_a q_b·exp(−r/λ)/r + A_ab exp(−(r − d_ab)/ρ)]·S(r),

with A_ab such that the minimum of a cation and its anion is at d_ab. Redox: charge neutrality determines the number of
V4+, which are the V with the lowest Na coordination; a density of Gaussians has their charges and moments.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from redoxmd.config import sections
from redoxmd.density.grid import Density
from redoxmd.engines.base import Engine, Result, check_result, method_hash
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.model.neighbours import find_pairs

METHOD_VERSION = 1

FORMAL_CHARGE = {"Na": 1.0, "V": 3.0, "P": 5.0, "O": -2.0}
# Minimum of an isolated cation–anion pair, Å; bonds in the crystal are somewhat longer.
CONTACT_A = {("Na", "O"): 2.3, ("V", "O"): 1.95, ("P", "O"): 1.53}
COULOMB_EV_A = 14.4
STRENGTH = 0.35
SCREENING_A = 2.0
HARDNESS_A = 0.25
LIKE_REPULSION_EV = 0.3
LIKE_CONTACT_A = 2.2
CUTOFF_A = 5.0
SWITCH_ON_A = 4.0

VALENCE_ELECTRONS = {"Na": 7.0, "V": 13.0, "P": 5.0, "O": 6.0}
BADER_CHARGE = {"Na": 0.88, "P": 4.84}
VANADIUM_CHARGE = {3: 2.00, 4: 2.25}
VANADIUM_MOMENT_MUB = {3: 2.0, 4: 1.0}
COORDINATION_RADIUS_A = 3.6
COORDINATION_WIDTH_A = 0.3
GAUSSIAN_WIDTH_A = 0.35
GRID_SPACING_A = 0.25


def physical_settings(settings: sections.Engine) -> dict[str, Any]:
    """Empty: no setting changes the energies of the toy."""
    return {}


def available(settings: sections.Engine) -> tuple[bool, str]:
    """True: the toy is built in."""
    return True, "toy engine built in"


def create(settings: sections.Engine, repeats: Sequence[int], workdir: Path | None) -> ToyEngine:
    """See `redoxmd.engines.get_engine`."""
    return ToyEngine(settings)


class ToyEngine(Engine):
    """The toy potential as a reference engine; it refuses the share `refuse_fraction` of labels."""

    name = "toy"
    capabilities = frozenset({"energy", "forces", "stress", "moments", "density"})

    def __init__(self, settings: sections.Engine) -> None:
        self.settings = settings
        self.settings_hash = method_hash(self.name, METHOD_VERSION, physical_settings(settings))
        self._atoms: Atoms | None = None

    def calculate(self, atoms: Atoms) -> Result:
        """Label a structure.

        Raises:
            LabelRefused: unconverged, for the share `refuse_fraction` of first geometries, chosen by their positions;
                wrong_structure for an element without parameters.
        """
        unknown = set(atoms.get_chemical_symbols()) - set(FORMAL_CHARGE)
        if unknown:
            raise LabelRefused(
                LabelRefusal.WRONG_STRUCTURE, f"the toy knows {sorted(FORMAL_CHARGE)}, not {sorted(unknown)}"
            )
        time.sleep(self.settings.toy.delay_s)
        if self._atoms is None and _uniform_number(atoms) < self.settings.toy.refuse_fraction:
            raise LabelRefused(LabelRefusal.UNCONVERGED, "the toy pretends not to converge for this geometry")
        self._atoms = atoms.copy()
        energy, forces, stress = ionic_energy(atoms)
        result = Result(energy, forces, stress, moments(atoms), 1)
        return check_result(result, atoms, self.settings.force_ceiling_eV_A)

    def density(self) -> Density | None:
        """Density of Gaussians with the charges and moments of `oxidation_states`."""
        return None if self._atoms is None else gaussian_density(self._atoms)

    def provenance(self) -> dict[str, Any]:
        """Version of the toy."""
        return {"toy": METHOD_VERSION}


def _uniform_number(atoms: Atoms) -> float:
    """A number in [0, 1) that depends only on the geometry."""
    content = np.round(atoms.positions, 3).tobytes() + atoms.numbers.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") / 2**64


def _pair_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coulomb strength, repulsion and contact distance by pair of atomic numbers."""
    size = max(atomic_numbers[symbol] for symbol in FORMAL_CHARGE) + 1
    coulomb, repulsion, contact = (np.zeros((size, size)) for _ in range(3))
    for a, charge_a in FORMAL_CHARGE.items():
        for b, charge_b in FORMAL_CHARGE.items():
            i, j = atomic_numbers[a], atomic_numbers[b]
            k = STRENGTH * COULOMB_EV_A * charge_a * charge_b
            d = CONTACT_A.get((a, b)) or CONTACT_A.get((b, a))
            if d is None:
                amplitude, d = LIKE_REPULSION_EV, LIKE_CONTACT_A
            else:
                amplitude = HARDNESS_A * abs(k) * np.exp(-d / SCREENING_A) * (1 / d**2 + 1 / (SCREENING_A * d))
            coulomb[i, j], repulsion[i, j], contact[i, j] = k, amplitude, d
    return coulomb, repulsion, contact


COULOMB, REPULSION, CONTACT = _pair_tables()


def ionic_pair_energy(i: np.ndarray, j: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V_ab(r) (eV) and dV/dr (eV/Å) of pairs of atomic numbers at distances r (Å)."""
    screened = COULOMB[i, j] * np.exp(-r / SCREENING_A) / r
    repulsive = REPULSION[i, j] * np.exp(-(r - CONTACT[i, j]) / HARDNESS_A)
    value = screened + repulsive
    slope = -screened * (1 / r + 1 / SCREENING_A) - repulsive / HARDNESS_A
    x = np.clip((r - SWITCH_ON_A) / (CUTOFF_A - SWITCH_ON_A), 0.0, 1.0)
    switch = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    switch_slope = -30 * x**2 * (1 - x) ** 2 / (CUTOFF_A - SWITCH_ON_A)
    return value * switch, slope * switch + value * switch_slope


def ionic_energy(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (n, 3) (eV/Å) and stress (3, 3) (eV/Å³) of the toy."""
    cell = np.asarray(atoms.cell)
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, CUTOFF_A)
    vectors = pairs.vectors_A(atoms.positions, cell)
    r = np.linalg.norm(vectors, axis=1)
    value, slope = ionic_pair_energy(atoms.numbers[pairs.receiver], atoms.numbers[pairs.sender], r)
    # Each pair occurs twice, in both directions; the receiver gets half of the force from each.
    gradient = (slope / r)[:, None] * vectors
    forces = np.stack([np.bincount(pairs.receiver, gradient[:, d], len(atoms)) for d in range(3)], axis=1)
    stress = 0.5 * vectors.T @ gradient / (abs(np.linalg.det(cell)) or 1.0)
    return float(0.5 * value.sum()), forces, stress


def oxidation_states(atoms: Atoms) -> dict[int, int]:
    """Oxidation state of every V (index → 3 or 4); V with the lowest smooth Na coordination are V4+."""
    vanadium = np.flatnonzero(atoms.numbers == atomic_numbers["V"])
    charge = sum(FORMAL_CHARGE[symbol] for symbol in atoms.get_chemical_symbols())
    holes = int(np.clip(round(-charge), 0, len(vanadium)))
    cell = np.asarray(atoms.cell)
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, 2 * COORDINATION_RADIUS_A)
    r = np.linalg.norm(pairs.vectors_A(atoms.positions, cell), axis=1)
    near_sodium = atoms.numbers[pairs.sender] == atomic_numbers["Na"]
    weight = near_sodium / (1 + np.exp((r - COORDINATION_RADIUS_A) / COORDINATION_WIDTH_A))
    coordination = np.bincount(pairs.receiver, weight, len(atoms))[vanadium]
    oxidised = set(vanadium[np.argsort(coordination, kind="stable")[:holes]].tolist())
    return {int(index): 4 if index in oxidised else 3 for index in vanadium}


def moments(atoms: Atoms) -> np.ndarray:
    """Local moments (n,) in μB: 2 on V3+, 1 on V4+."""
    values = np.zeros(len(atoms))
    for index, state in oxidation_states(atoms).items():
        values[index] = VANADIUM_MOMENT_MUB[state]
    return values


def bader_charges(atoms: Atoms) -> np.ndarray:
    """Charges (n,) in e of the atoms in the density; the charge of O makes the cell neutral."""
    symbols = np.array(atoms.get_chemical_symbols())
    values = np.array([BADER_CHARGE.get(symbol, 0.0) for symbol in symbols])
    for index, state in oxidation_states(atoms).items():
        values[index] = VANADIUM_CHARGE[state]
    oxygen = symbols == "O"
    if oxygen.any():
        values[oxygen] = -values.sum() / oxygen.sum()
    return values


def gaussian_density(atoms: Atoms) -> Density:
    """Density of periodic Gaussians, with each atom's valence electrons minus its charge, and its moment."""
    valence = np.array([VALENCE_ELECTRONS[symbol] for symbol in atoms.get_chemical_symbols()])
    cell = np.asarray(atoms.cell)
    shape = [max(8, 2 * round(length / GRID_SPACING_A / 2)) for length in atoms.cell.lengths()]
    local_moments = moments(atoms)
    total = _superpose(atoms, valence - bader_charges(atoms), shape)
    return Density(
        total,
        _superpose(atoms, local_moments, shape),
        cell,
        atoms.positions.copy(),
        atoms.numbers.copy(),
        valence,
        float(valence.sum()),
        float(local_moments.sum()),
        1.0,
        "toy",
    )


def _superpose(atoms: Atoms, weights: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Σ_i w_i g(r − r_i) on the grid, summed in reciprocal space, which includes all periodic images."""
    frequencies = [np.fft.fftfreq(n, 1 / n) for n in shape]
    fractional = atoms.get_scaled_positions()
    phases = [np.exp(-2j * np.pi * np.outer(f, fractional[:, d])) for d, f in enumerate(frequencies)]
    structure_factor = np.einsum("ai,bi,ci,i->abc", *phases, weights, optimize=True)
    reciprocal = 2 * np.pi * np.asarray(atoms.cell.reciprocal())
    g = np.stack(np.meshgrid(*frequencies, indexing="ij"), axis=-1) @ reciprocal
    decay = np.exp(-0.5 * GAUSSIAN_WIDTH_A**2 * (g**2).sum(axis=-1))
    grid: np.ndarray = np.fft.ifftn(structure_factor * decay).real * np.prod(shape) / atoms.get_volume()
    return grid
