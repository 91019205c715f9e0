"""Energy surfaces whose minima and barriers are known, as ASE calculators that also tell a spread."""

from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from redoxmd.engines.toy import ionic_energy

WELL_RADIUS_A = 1.4
SPACING_A = 3.0


class Surface(Calculator):
    """A calculator made of functions of the atoms: (energy, forces), and the spread of each atom."""

    implemented_properties: ClassVar = ["energy", "forces"]

    def __init__(self, function, spread=None):
        super().__init__()
        self.function, self.spread, self.calls = function, spread, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energy, forces = self.function(self.atoms)[:2]
        spread = np.full(len(self.atoms), 0.1) if self.spread is None else self.spread(self.atoms)
        # Members that disagree about heights alone.
        members = energy * np.array([0.9, 1.0, 1.1])
        self.results = {"energy": energy, "forces": forces, "force_spread": spread, "member_energies": members}


def toy_surface():
    return Surface(ionic_energy)


def line_of_sites(count=4):
    """A full cell: ions on a line of sites `SPACING_A` apart, the first Na1, the others Na2, and one framework atom."""
    places = [[SPACING_A * i, 0.0, 0.0] for i in range(count)]
    atoms = Atoms(f"Na{count}O", positions=[*places, [0.0, 4.5, 4.5]], cell=[SPACING_A * count, 9, 9], pbc=True)
    atoms.set_array("site", np.array(["Na1", *["Na2"] * (count - 1), "-"]))
    return atoms


def occupied(sites, count=4):
    """The line with ions at some sites only."""
    atoms = line_of_sites(count)
    del atoms[[site for site in range(count) if site not in sites]]
    atoms.info["structure"] = "line"
    return atoms


def wells(depths_eV):
    """−d(1 − r²/R²)³ around each site of the line, zero beyond R: ions at their centres have −Σd exactly."""

    def energy_and_forces(atoms):
        forces, energy = np.zeros((len(atoms), 3)), 0.0
        for site, depth in enumerate(depths_eV):
            place = np.array([SPACING_A * site, 0.0, 0.0])
            vectors = atoms.positions - place
            vectors -= np.round(vectors / atoms.cell.lengths()) * atoms.cell.lengths()
            inside = 1 - (vectors**2).sum(axis=1) / WELL_RADIUS_A**2
            inside[(inside < 0) | (atoms.numbers != 11)] = 0.0
            energy -= depth * (inside**3).sum()
            forces -= depth * 6 / WELL_RADIUS_A**2 * inside[:, None] ** 2 * vectors
        return float(energy), forces

    return energy_and_forces


def double_well(barrier_eV, tilt_eV=0.0, curve_A=0.8):
    """Wells of the ion at two neighbouring sites of the line, the way between them curved.

    E = h·(u² − 1)² + t·(1 + u·(3 − u²)/2)/2 + ½k(y − c(1 − u²))² + ½k z², u = (x − b)/b, b half the spacing: minima at
    u = ±1, E = 0 and t; for t = 0 the saddle is at (0, c, 0), E = h.
    """
    half, stiff = SPACING_A / 2, 4.0

    def energy_and_forces(atoms):
        forces, energy = np.zeros((len(atoms), 3)), 0.0
        for ion in np.flatnonzero(atoms.numbers == 11):
            x, y, z = atoms.positions[ion]
            u = (x - half) / half
            away = y - curve_A * (1 - u**2)
            energy += barrier_eV * (u**2 - 1) ** 2 + tilt_eV * (1 + u * (3 - u**2) / 2) / 2
            energy += stiff / 2 * (away**2 + z**2)
            slope = 4 * barrier_eV * u * (u**2 - 1) + tilt_eV * 3 / 4 * (1 - u**2) + stiff * away * 2 * curve_A * u
            forces[ion] -= [slope / half, stiff * away, stiff * z]
        return float(energy), forces

    return energy_and_forces
