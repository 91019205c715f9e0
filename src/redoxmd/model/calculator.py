"""The ensemble as an ASE calculator."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from redoxmd.config.sections import Electrons
from redoxmd.electrons.moves import descend, find_lowest, neighbour_pairs
from redoxmd.electrons.shortlist import Shortlist, first_order_changes
from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.errors import LabelRefused, StructureError
from redoxmd.model.ensemble import Ensemble, Prediction
from redoxmd.seeds import rng_from_text, rng_text


class EnsembleCalculator(Calculator):
    """ASE calculator of the mean energy (eV), forces (eV/Å) and stress (eV/Å³) of an ensemble.

    `results` also has `force_spread` (n,) and `energy_spread`, as defined in `ensemble.force_spread`, and the energies
    of the members `member_energies` (M,). If the ensemble distinguishes oxidation states, it has `oxidation` (n,) too:

    - the array `oxidation` of the atoms, if they have one;
    - otherwise, with a section `electrons`, the lowest state that swaps of neighbours reach from that of the call
      before (from all or several states in the first call), so that electrons follow the ions;
    - otherwise the neutral state nearest to the initial magnetic moments of the atoms, by the levels in the ensemble's
      file.

    Args:
        ensemble: of the potentials.
        electrons: section `electrons`, with which electrons follow the ions.
        seed: of the states that the first search starts from where there are too many for all to be evaluated.
        all_swaps: whether electrons that follow are searched among all swaps, so that results depend on nothing but the
            present state and positions; otherwise among those of a shortlist (`electrons.shortlist.Shortlist`).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        ensemble: Ensemble,
        electrons: Electrons | None = None,
        seed: int = 0,
        all_swaps: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.all_swaps = all_swaps
        self._shortlist: Shortlist | None = None
        self.ensemble, self.electrons = ensemble, electrons or Electrons()
        self.rng = np.random.default_rng(seed)
        self.oxidation: np.ndarray | None = None
        self._given = ""
        self._numbers: list[int] | None = None

    def forget_states(self, seed: int = 0) -> None:
        """Start from the lowest state in the next call, as in the first one."""
        self.reset()
        self.oxidation, self.rng, self._shortlist = None, np.random.default_rng(seed), None

    def record(self) -> dict[str, np.ndarray]:
        """Arrays for a restart file: all that the states of the next call depend on beside the atoms."""
        if self.oxidation is None:
            return {}
        shortlist = {} if self._shortlist is None else self._shortlist.record()
        return {"oxidation": self.oxidation, "search_rng": np.asarray(rng_text(self.rng)), **shortlist}

    def restore(self, record: Mapping[str, np.ndarray], atoms: Atoms) -> None:
        """Continue from `record` with the same atoms."""
        self.forget_states()
        self._numbers = atoms.numbers.tolist()
        if "oxidation" in record:
            self.oxidation, self.rng = np.array(record["oxidation"]), rng_from_text(str(record["search_rng"]))
        if "swap_counts" in record:
            self._shortlist = Shortlist(atoms.numbers)
            self._shortlist.restore(record)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Changes since the last calculation; of the oxidation states too, which ASE does not compare."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.ensemble.states is not None and _array_text(atoms) != self._given:
            changes.append("oxidation")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`, as ASE requires.

        Raises:
            StructureError: the ensemble distinguishes oxidation states, and the atoms have none.
        """
        super().calculate(atoms, properties or ["energy"], system_changes)
        # The state of another structure is forgotten; that of a restart file, which no calculation preceded, stays.
        if self._numbers not in (None, self.atoms.numbers.tolist()):
            self.oxidation = self._shortlist = None
        self._numbers = self.atoms.numbers.tolist()
        self._given = _array_text(self.atoms)
        if self.ensemble.states is None:
            prediction = self.ensemble.predict(self.atoms)
        elif "oxidation" in self.atoms.arrays:
            self.oxidation = np.array(self.atoms.arrays["oxidation"])
            if self.ensemble.levels is not None:
                self.ensemble.levels.require_neutral(list(self.atoms.symbols), self.oxidation)
            prediction = self.ensemble.predict(self.atoms)
        elif self.electrons.levels:
            prediction = self._follow()
        else:
            self.oxidation = self._state_of_moments()
            atoms = self.atoms.copy()
            atoms.set_array("oxidation", self.oxidation)
            prediction = self.ensemble.predict(atoms)
        spread = prediction.force_spread_eV_A if len(self.ensemble.members) > 1 else np.zeros(len(self.atoms))
        self.results = {
            "energy": prediction.energy_eV,
            "free_energy": prediction.energy_eV,
            "forces": prediction.forces_eV_A,
            "stress": full_3x3_to_voigt_6_stress(prediction.stress_eV_A3),
            "force_spread": spread,
            "member_energies": prediction.energies_eV,
            "energy_spread": prediction.energy_spread_eV if len(self.ensemble.members) > 1 else 0.0,
        }
        if self.oxidation is not None:
            self.results["oxidation"] = self.oxidation

    def _follow(self) -> Prediction:
        """Prediction in the lowest state, which becomes the present one."""
        atoms, levels = self.atoms, OxidationLevels.of(self.electrons)
        assert levels is not None
        symbols, bound, working = list(atoms.symbols), self.ensemble.bind(atoms), atoms.copy()

        def species_of(state: np.ndarray) -> np.ndarray:
            working.set_array("oxidation", state)
            return self.ensemble.species_of(working)

        def energies(states: np.ndarray) -> np.ndarray:
            values: np.ndarray = bound.energies(atoms.positions, np.array([species_of(state) for state in states]))
            return values.mean(axis=0)

        def first_order(state: np.ndarray, swaps: np.ndarray) -> np.ndarray:
            species = species_of(state)
            gradient = bound(atoms.positions, species, by_species=True).species_gradient_eV
            assert gradient is not None
            return first_order_changes(gradient, species, swaps)

        shortlist = None
        if not self.all_swaps:
            self._shortlist = self._shortlist or Shortlist(atoms.numbers)
            shortlist = self._shortlist, first_order
        present = levels.first_neutral(symbols) if self.oxidation is None else self.oxidation
        reach_A = self.electrons.reach_A
        pairs = neighbour_pairs(present, symbols, atoms.positions, atoms.cell.array, atoms.pbc, reach_A)
        if self.oxidation is None:
            moved = find_lowest(symbols, levels.occupied(symbols), energies, pairs, self.rng, shortlist=shortlist)
        else:
            moved = descend(present, energies, pairs, shortlist=shortlist)
        self.oxidation = moved.oxidation
        return bound(atoms.positions, species_of(moved.oxidation))

    def _state_of_moments(self) -> np.ndarray:
        """The neutral state (n,) nearest to the initial magnetic moments of the atoms."""
        remedy = (
            "set the array `oxidation` of the atoms (an integer per atom, 0 except for redox atoms), or give the "
            "calculator the section electrons with its levels"
        )
        atoms, levels = self.atoms, self.ensemble.levels
        moments = atoms.get_initial_magnetic_moments()
        if not moments.any():
            raise StructureError(
                f"the potential distinguishes oxidation states: {remedy}, or set initial magnetic moments"
            )
        if levels is None:
            raise StructureError(
                f"initial moments need levels of the oxidation states, which the ensemble's file lacks: {remedy}"
            )
        symbols = list(atoms.symbols)
        try:
            # Moments as a calculation starts from them, or as one gives them.
            with contextlib.suppress(LabelRefused):
                return judge_state(symbols, moments, None, levels.of_starts()).oxidation
            return judge_state(symbols, moments, None, levels).oxidation
        except LabelRefused as refused:
            reason = f"the initial magnetic moments name no neutral oxidation states ({refused.detail})"
            raise StructureError(f"{reason}: change them, {remedy}") from refused


def _array_text(atoms: Atoms) -> str:
    """The array `oxidation` of the atoms as text; "" if they have none."""
    return str(atoms.arrays["oxidation"].tolist()) if "oxidation" in atoms.arrays else ""
