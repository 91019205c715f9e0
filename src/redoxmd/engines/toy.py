"""An analytic ionic crystal with a known redox density: an engine for tests of the whole loop, with known results.

Energy: pairs of screened formal charges and Born–Mayer repulsion, cut smoothly,

    V_ab(r) = [s·k_e·q_a q_b·exp(−r/λ)/r + A_ab exp(−(r − d_ab)/ρ)]·S(r),

with A_ab such that the minimum of a cation and its anion is at d_ab. Redox: charge neutrality determines the number of
V4+, which are the V with the lowest Na coordination; a density of Gaussians has their charges and moments.

With `engine.toy.two_state` V4+ is a species of its own in V_ab, with charge 4 and a shorter contact to O, and each V4+
adds a constant: energy, forces and stress are functions of positions and states. The states are those asked for, or
those of lowest energy.
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
from redoxmd.electrons.moves import (
    StateEnergies,
    find_lowest,
    neighbour_pairs,
)
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.base import Engine, Result, check_result, method_hash
from redoxmd.errors import DataError, LabelRefusal, LabelRefused, StructureError
from redoxmd.model.neighbours import find_pairs

METHOD_VERSION = 1

FORMAL_CHARGE = {"Na": 1.0, "V": 3.0, "P": 5.0, "O": -2.0}
VANADIUM = atomic_numbers["V"]
# V4+ has a row of its own in the tables of pairs, after those of the atomic numbers.
V4 = max(atomic_numbers[symbol] for symbol in FORMAL_CHARGE) + 1
# Species → (row, formal charge); with contacts for V4+, which occurs only in `two_state_energy`.
SPECIES = {symbol: (atomic_numbers[symbol], charge) for symbol, charge in FORMAL_CHARGE.items()} | {"V4": (V4, 4.0)}
# Minimum of an isolated cation–anion pair, Å; bonds in the crystal are somewhat longer.
CONTACT_A = {("Na", "O"): 2.3, ("V", "O"): 1.95, ("P", "O"): 1.53}
V4_CONTACT_A = {("V4", "O"): 1.87}
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
# Added for each V4+, so that a cell with one V4+ fewer than neutrality asks for is 0 to 1 eV higher.
OXIDATION_EV = 6.0
LEVELS = OxidationLevels({"V": VANADIUM_MOMENT_MUB}, {"Na": 1, "P": 5, "O": -2})
# Moment of the oxygen that has the hole of a label in a wrong state.
OXYGEN_HOLE_MUB = -0.5
# Up to this number of neutral states all are evaluated to find the lowest, above it descents from drawn starts.
MAX_ENUMERATED = 5000
DESCENTS = 8
SWAP_REACH_A = 7.0
COORDINATION_RADIUS_A = 3.6
COORDINATION_WIDTH_A = 0.3
GAUSSIAN_WIDTH_A = 0.35
GRID_SPACING_A = 0.25


def physical_settings(settings: sections.EngineSettings) -> dict[str, Any]:
    """`two_state` if it is set: no other setting changes the energies of the toy."""
    return {"two_state": True} if settings.toy.two_state else {}


def available(settings: sections.EngineSettings) -> tuple[bool, str]:
    """True: the toy is built in."""
    return True, "toy engine built in"


def create(settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path | None) -> ToyEngine:
    """See `redoxmd.engines.get_engine`."""
    return ToyEngine(settings)


class ToyEngine(Engine):
    """The toy potential as a reference engine; it refuses the share `refuse_fraction` of labels.

    With `two_state` the array `oxidation` (n,) of the atoms is the state that is asked for, by default `lowest_state`.
    The share `wrong_state_fraction` of labels ends in another one (`merge_holes`); it is chosen by the engine's first
    geometry and the state asked for, so that all steps of an MD in one state end in the same kind of state.
    """

    name = "toy"
    capabilities = frozenset({"energy", "forces", "stress", "moments", "density"})

    def __init__(self, settings: sections.EngineSettings) -> None:
        self.settings = settings
        self.settings_hash = method_hash(self.name, METHOD_VERSION, physical_settings(settings))
        self._atoms: Atoms | None = None
        self._start: Atoms | None = None
        self._states: np.ndarray | None = None
        self._moments_muB: np.ndarray | None = None

    def calculate(self, atoms: Atoms) -> Result:
        """Label a structure.

        Raises:
            LabelRefused: unconverged, for the share `refuse_fraction` of first geometries, chosen by their positions;
                wrong_structure for an element without parameters, or a cell that no state makes neutral;
                wrong_electronic_state if the state asked for is not neutral.
            DataError: the state asked for has other oxidation numbers than 3 and 4 of V.
        """
        unknown = set(atoms.get_chemical_symbols()) - set(FORMAL_CHARGE)
        if unknown:
            raise LabelRefused(
                LabelRefusal.WRONG_STRUCTURE, f"the toy knows {sorted(FORMAL_CHARGE)}, not {sorted(unknown)}"
            )
        toy = self.settings.toy
        time.sleep(toy.delay_s)
        if self._atoms is None and _uniform_number(atoms) < toy.refuse_fraction:
            raise LabelRefused(LabelRefusal.UNCONVERGED, "the toy pretends not to converge for this geometry")
        if self._start is None:
            self._start = atoms.copy()
        if toy.two_state:
            states = _requested_state(atoms)
            if _uniform_number(self._start, states) < toy.wrong_state_fraction:
                states, local_moments = merge_holes(atoms, states)
            else:
                local_moments = moments(atoms, states)
            energy, forces, stress = two_state_energy(atoms, states)
        else:
            states, local_moments = None, moments(atoms)
            energy, forces, stress = ionic_energy(atoms)
        self._atoms, self._states, self._moments_muB = atoms.copy(), states, local_moments
        result = Result(energy, forces, stress, local_moments, 1)
        return check_result(result, atoms, self.settings.force_ceiling_eV_A)

    def density(self) -> Density | None:
        """Density of Gaussians with the charges and moments of the last label."""
        return None if self._atoms is None else gaussian_density(self._atoms, self._states, self._moments_muB)

    def provenance(self) -> dict[str, Any]:
        """Version of the toy."""
        return {"toy": METHOD_VERSION}


def _requested_state(atoms: Atoms) -> np.ndarray:
    """The state (n,) of `atoms.arrays`, which must be neutral, or the lowest one."""
    try:
        if "oxidation" not in atoms.arrays:
            return lowest_state(atoms)
        needed = LEVELS.neutral_total(atoms.get_chemical_symbols())
    except StructureError as error:
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, str(error)) from error
    states = _known_states(atoms, atoms.arrays["oxidation"])
    if states.sum() != needed:
        raise LabelRefused(
            LabelRefusal.WRONG_ELECTRONIC_STATE,
            f"the oxidation numbers asked for sum to {states.sum():+d}, neutrality asks for {needed:+d}",
        )
    return states


def _known_states(atoms: Atoms, oxidation: np.ndarray) -> np.ndarray:
    """The states (n,) as integers, if they are 3 or 4 for V and 0 for all other atoms."""
    states, vanadium = np.asarray(oxidation), atoms.numbers == VANADIUM
    if states.shape != vanadium.shape or not np.isin(states[vanadium], (3, 4)).all() or states[~vanadium].any():
        raise DataError("oxidation of the two-state toy must be 3 or 4 for each V and 0 for all other atoms")
    return states.astype(np.int64)


def _uniform_number(atoms: Atoms, states: np.ndarray | None = None) -> float:
    """A number in [0, 1) that depends only on the geometry, and on the states if there are any."""
    content = np.round(atoms.positions, 3).tobytes() + atoms.numbers.tobytes()
    if states is not None:
        content += states.tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") / 2**64


def _pair_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coulomb strength, repulsion and contact distance by pair of species."""
    coulomb, repulsion, contact = (np.zeros((V4 + 1, V4 + 1)) for _ in range(3))
    contacts_A = CONTACT_A | V4_CONTACT_A
    for a, (i, charge_a) in SPECIES.items():
        for b, (j, charge_b) in SPECIES.items():
            k = STRENGTH * COULOMB_EV_A * charge_a * charge_b
            d = contacts_A.get((a, b)) or contacts_A.get((b, a))
            if d is None:
                amplitude, d = LIKE_REPULSION_EV, LIKE_CONTACT_A
            else:
                amplitude = HARDNESS_A * abs(k) * np.exp(-d / SCREENING_A) * (1 / d**2 + 1 / (SCREENING_A * d))
            coulomb[i, j], repulsion[i, j], contact[i, j] = k, amplitude, d
    return coulomb, repulsion, contact


COULOMB, REPULSION, CONTACT = _pair_tables()


def ionic_pair_energy(i: np.ndarray, j: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V_ab(r) (eV) and dV/dr (eV/Å) of pairs of species (atomic numbers, or `V4`) at distances r (Å)."""
    screened = COULOMB[i, j] * np.exp(-r / SCREENING_A) / r
    repulsive = REPULSION[i, j] * np.exp(-(r - CONTACT[i, j]) / HARDNESS_A)
    value = screened + repulsive
    slope = -screened * (1 / r + 1 / SCREENING_A) - repulsive / HARDNESS_A
    x = np.clip((r - SWITCH_ON_A) / (CUTOFF_A - SWITCH_ON_A), 0.0, 1.0)
    switch = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    switch_slope = -30 * x**2 * (1 - x) ** 2 / (CUTOFF_A - SWITCH_ON_A)
    return value * switch, slope * switch + value * switch_slope


def ionic_energy(atoms: Atoms, species: np.ndarray | None = None) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (n, 3) (eV/Å) and stress (3, 3) (eV/Å³) of the toy.

    Args:
        atoms: the structure.
        species: (n,) atomic numbers, or `V4`; by default the atomic numbers.
    """
    species = atoms.numbers if species is None else species
    cell = np.asarray(atoms.cell)
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, CUTOFF_A)
    vectors = pairs.vectors_A(atoms.positions, cell)
    r = np.linalg.norm(vectors, axis=1)
    value, slope = ionic_pair_energy(species[pairs.receiver], species[pairs.sender], r)
    # Each pair occurs twice, in both directions; the receiver gets half of the force from each.
    gradient = (slope / r)[:, None] * vectors
    forces = np.stack([np.bincount(pairs.receiver, gradient[:, d], len(atoms)) for d in range(3)], axis=1)
    stress = 0.5 * vectors.T @ gradient / (abs(np.linalg.det(cell)) or 1.0)
    return float(0.5 * value.sum()), forces, stress


def two_state_energy(atoms: Atoms, oxidation: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (n, 3) (eV/Å) and stress (3, 3) (eV/Å³) of the toy in a state, neutral or not.

    Args:
        atoms: the structure.
        oxidation: (n,) 3 or 4 for V, 0 for all other atoms.

    Raises:
        DataError: other oxidation numbers.
    """
    states = _known_states(atoms, oxidation)
    energy, forces, stress = ionic_energy(atoms, np.where(states == 4, V4, atoms.numbers))
    return energy + float((states == 4).sum()) * OXIDATION_EV, forces, stress


def state_energies(atoms: Atoms) -> StateEnergies:
    """Energies (k,) in eV of states (k, n) at the positions of `atoms`: exactly those of `two_state_energy`.

    The energy is a quadratic form of the V4+ occupations, because all terms are of pairs.
    """
    cell = np.asarray(atoms.cell)
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, CUTOFF_A)
    i, j, n = pairs.receiver, pairs.sender, len(atoms)
    r = np.linalg.norm(pairs.vectors_A(atoms.positions, cell), axis=1)
    reduced = atoms.numbers
    oxidised = np.where(reduced == VANADIUM, V4, reduced)
    neither, first, second, both = (
        ionic_pair_energy(a[i], b[j], r)[0] for a in (reduced, oxidised) for b in (reduced, oxidised)
    )
    energy = 0.5 * neither.sum()
    single = OXIDATION_EV + 0.5 * (np.bincount(i, second - neither, n) + np.bincount(j, first - neither, n))
    pair = 0.5 * np.bincount(i * n + j, both - first - second + neither, n * n).reshape(n, n)

    def energies(oxidation: np.ndarray) -> np.ndarray:
        occupied = (oxidation == 4).astype(float)
        values: np.ndarray = energy + occupied @ single + ((occupied @ pair) * occupied).sum(axis=1)
        return values

    return energies


def lowest_state(atoms: Atoms) -> np.ndarray:
    """The neutral state (n,) of lowest `two_state_energy`; exact up to `MAX_ENUMERATED` neutral states.

    Raises:
        StructureError: no state is neutral.
    """
    symbols = atoms.get_chemical_symbols()
    redox = np.where(atoms.numbers == VANADIUM, 3, 0)
    pairs = neighbour_pairs(redox, symbols, atoms.positions, np.asarray(atoms.cell), atoms.pbc, SWAP_REACH_A)
    rng = np.random.default_rng(0)
    return find_lowest(symbols, LEVELS, state_energies(atoms), pairs, rng, DESCENTS, MAX_ENUMERATED).oxidation


def oxidation_states(atoms: Atoms) -> dict[int, int]:
    """Oxidation state of every V (index → 3 or 4); V with the lowest smooth Na coordination are V4+."""
    vanadium = np.flatnonzero(atoms.numbers == VANADIUM)
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


def merge_holes(atoms: Atoms, oxidation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A state (n,) with one V4+ fewer, and its moments (n,) in μB with the hole on the nearest oxygen.

    The first V4+ becomes V3+, so the cell is not neutral by the states of V, and its total moment is not an integer. A
    cell without V4+ or oxygen keeps its state.
    """
    states, holes, oxygen = oxidation.copy(), np.flatnonzero(oxidation == 4), np.flatnonzero(atoms.symbols == "O")
    if not (len(holes) and len(oxygen)):
        return states, moments(atoms, states)
    states[holes[0]] = 3
    values = moments(atoms, states)
    values[oxygen[atoms.get_distances(holes[0], oxygen, mic=True).argmin()]] = OXYGEN_HOLE_MUB
    return states, values


def moments(atoms: Atoms, oxidation: np.ndarray | None = None) -> np.ndarray:
    """Local moments (n,) in μB: 2 on V3+, 1 on V4+, in a state (n,) or by `oxidation_states`."""
    values = np.zeros(len(atoms))
    for index, state in _vanadium_states(atoms, oxidation).items():
        values[index] = VANADIUM_MOMENT_MUB[state]
    return values


def bader_charges(atoms: Atoms, oxidation: np.ndarray | None = None) -> np.ndarray:
    """Charges (n,) in e of the atoms in the density; the charge of O makes the cell neutral.

    Args:
        atoms: the structure.
        oxidation: (n,) state; by default that of `oxidation_states`.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    values = np.array([BADER_CHARGE.get(symbol, 0.0) for symbol in symbols])
    for index, state in _vanadium_states(atoms, oxidation).items():
        values[index] = VANADIUM_CHARGE[state]
    oxygen = symbols == "O"
    if oxygen.any():
        values[oxygen] = -values.sum() / oxygen.sum()
    return values


def _vanadium_states(atoms: Atoms, oxidation: np.ndarray | None) -> dict[int, int]:
    if oxidation is None:
        return oxidation_states(atoms)
    return {int(index): int(oxidation[index]) for index in np.flatnonzero(oxidation)}


def gaussian_density(
    atoms: Atoms, oxidation: np.ndarray | None = None, moments_muB: np.ndarray | None = None
) -> Density:
    """Density of periodic Gaussians, with each atom's valence electrons minus its charge, and its moment.

    Args:
        atoms: the structure.
        oxidation: (n,) state; by default that of `oxidation_states`.
        moments_muB: (n,); by default those of the state.
    """
    valence = np.array([VALENCE_ELECTRONS[symbol] for symbol in atoms.get_chemical_symbols()])
    cell = np.asarray(atoms.cell)
    shape = [max(8, 2 * round(length / GRID_SPACING_A / 2)) for length in atoms.cell.lengths()]
    local_moments = moments(atoms, oxidation) if moments_muB is None else moments_muB
    total = _superpose(atoms, valence - bader_charges(atoms, oxidation), shape)
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
