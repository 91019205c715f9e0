"""A teacher for tests: the potential of the toy engine as an ASE calculator, with constants of the elements."""

import os
import signal

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from redoxmd.engines.toy import ionic_energy, moments


class ToyTeacher(Calculator):
    """Energy and forces of the toy engine; `constants_eV` by element are added, and moments given if asked for."""

    implemented_properties = ("energy", "forces", "magmoms")

    def __init__(self, constants_eV=None, with_moments=True):
        super().__init__()
        self.constants_eV, self.with_moments = constants_eV or {}, with_moments

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces, _ = ionic_energy(atoms)
        constant = sum(value * (atoms.numbers == atomic_numbers[z]).sum() for z, value in self.constants_eV.items())
        self.results = {"energy": energy + constant, "forces": forces}
        if self.with_moments:
            self.results["magmoms"] = np.array(moments(atoms))


class StoppingTeacher(ToyTeacher):
    """As `ToyTeacher`; asks its process to stop after as many calculations as the environment says."""

    count = 0

    def calculate(self, *args, **keywords):
        super().calculate(*args, **keywords)
        self.count += 1
        if self.count == int(os.environ.get("STOP_AFTER", "0")):
            os.kill(os.getpid(), signal.SIGTERM)
