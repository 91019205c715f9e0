"""Inputs for the stand-in: a small crystal, and what a run of it needs."""

import numpy as np
from ase.io import write

from tests.conftest import rock

LABELS = {"Na": "Na_pv", "V": "V_pv", "P": "P", "O": "O"}
STATIC = {
    "SYSTEM": "an example",
    "ENCUT": 520,
    "EDIFF": "1E-6",
    "NELM": 40,
    "ISPIN": 2,
    "MAGMOM": "8*1.0",
    "LORBIT": 10,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "ALGO": "Normal",
    "LASPH": ".TRUE.",
    "LREAL": ".FALSE.",
    "PREC": "Accurate",
    "ISYM": 0,
    "LDAU": ".TRUE.",
    "LDAUTYPE": 2,
    "LDAUL": "-1 2 -1 -1",
    "LDAUU": "0 4.0 0 0",
    "LDAUJ": "0 0 0 0",
    "NSW": 0,
    "IBRION": -1,
}
DYNAMIC = STATIC | {
    "NSW": 4,
    "IBRION": 0,
    "MDALGO": 3,
    "POTIM": 1.0,
    "TEBEG": 600,
    "LANGEVIN_GAMMA": "10 10 10 10",
    "RANDOM_SEED": "7 0 0",
    "LCHARG": ".FALSE.",
}


def example_atoms():
    """Eight atoms, an element after the other."""
    atoms = rock(0, 0.1)
    return atoms[np.argsort([list(LABELS).index(symbol) for symbol in atoms.get_chemical_symbols()], kind="stable")]


def write_example(folder, standin, tags, kpoints=(2, 2, 1)):
    """INCAR, POSCAR, KPOINTS and POTCAR of the example; returns its atoms."""
    folder.mkdir(parents=True, exist_ok=True)
    atoms = example_atoms()
    write(folder / "POSCAR", atoms, format="vasp", direct=True)
    (folder / "INCAR").write_text("".join(f"{tag} = {value}\n" for tag, value in tags.items()))
    (folder / "KPOINTS").write_text(f"mesh\n0\nGamma\n{' '.join(map(str, kpoints))}\n0 0 0\n")
    types = dict.fromkeys(atoms.get_chemical_symbols())
    potcars = [(standin.potcar_dir / LABELS[element] / "POTCAR").read_text() for element in types]
    (folder / "POTCAR").write_text("".join(potcars))
    return atoms
