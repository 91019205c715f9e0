"""Na_xV2(PO4)3 with every sodium site full, from published coordinates."""

from __future__ import annotations

import numpy as np
from ase import Atoms

# Space group R-3c (167), hexagonal axes, Na3V2(PO4)3; bond lengths V–O 1.98 and 2.04, P–O 1.52 and 1.54 Å.
SPACE_GROUP = 167
A_ANGSTROM = 8.728
C_ANGSTROM = 21.80
SITES = {
    "Na1": ("Na", (0.0, 0.0, 0.0)),
    "Na2": ("Na", (0.636, 0.0, 0.25)),
    "V": ("V", (0.0, 0.0, 0.1471)),
    "P": ("P", (0.2957, 0.0, 0.25)),
    "O1": ("O", (0.1804, 0.9734, 0.1931)),
    "O2": ("O", (0.1900, 0.1680, 0.0870)),
}
FORMULA_UNITS = 2


def nvp_cell() -> Atoms:
    """Primitive rhombohedral cell: 2 Na(1) + 6 Na(2) + 4 V + 6 P + 24 O, array `site` naming the sodium sites."""
    from ase.spacegroup import crystal

    symbols, basis = zip(*SITES.values(), strict=True)
    atoms = crystal(
        symbols,
        basis=basis,
        spacegroup=SPACE_GROUP,
        cellpar=[A_ANGSTROM, A_ANGSTROM, C_ANGSTROM, 90, 90, 120],
        primitive_cell=True,
    )
    names = [name if symbol == "Na" else "" for name, (symbol, _) in SITES.items()]
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    # Extended XYZ has no empty strings: the framework is "-".
    plain.set_array("site", np.array([names[kind] or "-" for kind in atoms.arrays["spacegroup_kinds"]]))
    return plain
