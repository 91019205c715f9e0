"""The ensemble as an ASE calculator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from redoxmd.model.ensemble import Ensemble


class EnsembleCalculator(Calculator):
    """ASE calculator of the mean energy (eV), forces (eV/Å) and stress (eV/Å³) of an ensemble.

    `results` also has `force_spread` (n,) and `energy_spread`, as defined in `ensemble.force_spread`, and the energies
    of the members `member_energies` (M,).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, ensemble: Ensemble, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.ensemble = ensemble

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`, as ASE requires."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        prediction = self.ensemble.predict(self.atoms)
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
