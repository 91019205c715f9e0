"""Transforms by pairs against GPAW's own, in whole calculations."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

pytestmark = pytest.mark.gpaw


def converged(mode: object, nbands: int, kpoints: tuple[int, int, int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy in eV, forces in eV/Å and on-site moments in μB of O2 in a skewed cell, by GPAW's default criteria."""
    from gpaw import GPAW

    cell = [[3.5, 0.0, 0.0], [0.8, 3.4, 0.0], [0.0, 0.3, 4.4]]
    molecule = Atoms("O2", [[0.1, 0.2, 0.3], [0.1, 0.4, 1.6]], magmoms=[1.0, 1.0], cell=cell, pbc=True)
    molecule.calc = GPAW(
        mode=mode,
        nbands=nbands,
        kpts={"size": kpoints, "gamma": True},
        setups={"O": ":p,3.0"},
        symmetry={"point_group": False},
        spinpol=True,
        occupations={"name": "fermi-dirac", "width": 0.1},
        txt=None,
    )
    return molecule.get_potential_energy(), molecule.get_forces(), molecule.get_magnetic_moments()


@pytest.mark.parametrize(("nbands", "kpoints", "is_real"), [(11, (1, 1, 1), True), (12, (1, 1, 3), False)])
def test_energy_forces_and_moments_are_those_of_gpaw(
    monkeypatch: pytest.MonkeyPatch, nbands: int, kpoints: tuple[int, int, int], is_real: bool
) -> None:
    from gpaw import PW

    from redoxmd.engines.gpaw_waves import PairedPW, PairTransform

    transforms: list[np.ndarray] = []
    own = PairTransform.to_basis

    def counted(self: PairTransform, grid: np.ndarray) -> np.ndarray:
        transforms.append(grid)
        return own(self, grid)

    monkeypatch.setattr(PairTransform, "to_basis", counted)
    expected = converged(PW(200), nbands, kpoints)
    assert not transforms
    for found, value in zip(converged(PairedPW(200), nbands, kpoints), expected, strict=True):
        assert found == pytest.approx(value, abs=1e-7)
    assert bool(transforms) == is_real
