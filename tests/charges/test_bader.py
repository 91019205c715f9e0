import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from redoxmd.charges import bader
from redoxmd.charges.bader import partition
from redoxmd.config.sections import EngineSettings
from redoxmd.density.grid import Density
from redoxmd.engines import toy
from tests.engines.test_engines import nvp

EXACT_E = 2e-3  # of a partition of Gaussians that hardly overlap
CONSERVED_E = 1e-4
TOY_VANADIUM_E = 0.05
SAME_METHOD_E = 1e-6  # two implementations of the same equations

ORTHORHOMBIC = np.diag([8.0, 9.0, 10.0])
TRICLINIC = np.array([[8.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.5, 3.5, 9.0]])
FRACTIONAL = np.array([[0.1, 0.15, 0.2], [0.62, 0.55, 0.12], [0.3, 0.7, 0.68]])
POPULATION = np.array([6.0, 9.5, 4.25])
MOMENT = np.array([1.0, -0.5, 0.0])


def gaussians(cell_A, shape, shift=0.0, width_A=0.55):
    """Three Gaussians of known populations and moments, with the images around."""
    axes = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    fractional = (FRACTIONAL + shift) % 1.0
    grids = np.zeros((2, *shape))
    for place, *amounts in zip(fractional, POPULATION, MOMENT, strict=True):
        for image in np.ndindex(3, 3, 3):
            squared = (((axes - place - np.array(image) + 1) @ cell_A) ** 2).sum(axis=-1)
            shape_A3 = np.exp(-0.5 * squared / width_A**2) / (2 * np.pi * width_A**2) ** 1.5
            grids += np.multiply.outer(amounts, shape_A3)
    numbers, valence = np.array([11, 23, 8]), np.array([7.0, 13.0, 6.0])
    return Density(
        *grids, cell_A, fractional @ cell_A, numbers, valence, POPULATION.sum(), MOMENT.sum(), 1.0, "gaussians"
    )


@pytest.fixture(scope="module")
def toy_frame():
    """A toy crystal whose Gaussians are narrow enough that its atoms hold what they were given."""
    atoms = nvp(2.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "GAUSSIAN_WIDTH_A", 0.35)
        engine = toy.ToyEngine(EngineSettings(name="toy"))
        engine.calculate(atoms)
        return atoms, engine.density()


@pytest.mark.parametrize("cell_A", [ORTHORHOMBIC, TRICLINIC], ids=["orthorhombic", "triclinic"])
def test_gaussians_far_apart_get_what_they_hold(cell_A):
    parts = partition(gaussians(cell_A, (36, 40, 44)))
    np.testing.assert_allclose(parts.population_e, POPULATION, rtol=0, atol=EXACT_E)
    np.testing.assert_allclose(parts.charge_e, [1.0, 3.5, 1.75], rtol=0, atol=EXACT_E)
    np.testing.assert_allclose(parts.moment_muB, MOMENT, rtol=0, atol=EXACT_E)
    assert not len(parts.empty)


@pytest.mark.parametrize("cell_A", [ORTHORHOMBIC, TRICLINIC], ids=["orthorhombic", "triclinic"])
def test_moving_the_crystal_through_its_cell_changes_nothing(cell_A):
    shape = (36, 40, 44)
    still = partition(gaussians(cell_A, shape))
    whole_points = partition(gaussians(cell_A, shape, np.array([7 / 36, 33 / 40, 20 / 44])))
    np.testing.assert_allclose(whole_points.charge_e, still.charge_e, rtol=0, atol=1e-6)
    between_points = partition(gaussians(cell_A, shape, np.array([0.337, 0.71, 0.513])))
    np.testing.assert_allclose(between_points.charge_e, still.charge_e, rtol=0, atol=EXACT_E)
    np.testing.assert_allclose(between_points.moment_muB, still.moment_muB, rtol=0, atol=EXACT_E)


def test_every_electron_belongs_to_an_atom(toy_frame):
    _, density = toy_frame
    parts = partition(density)
    assert parts.population_e.sum() == pytest.approx(density.electrons, abs=CONSERVED_E)
    assert parts.moment_muB.sum() == pytest.approx(density.moment_muB, abs=CONSERVED_E)
    assert parts.charge_e.sum() == pytest.approx(0.0, abs=CONSERVED_E)


def test_toy_vanadium_charges_and_moments(toy_frame):
    atoms, density = toy_frame
    parts = partition(density)
    vanadium = atoms.numbers == 23
    charge = toy.bader_charges(atoms)[vanadium]
    np.testing.assert_allclose(parts.charge_e[vanadium], charge, rtol=0, atol=TOY_VANADIUM_E)
    np.testing.assert_allclose(parts.moment_muB[vanadium], toy.moments(atoms)[vanadium], rtol=0, atol=TOY_VANADIUM_E)


def test_a_lost_basin_is_named_and_has_no_charge(caplog):
    density = gaussians(ORTHORHOMBIC, (20, 22, 24))
    # A fourth atom that the grid does not show.
    hidden = Density(
        density.total_e_A3,
        density.spin_e_A3,
        density.cell_A,
        np.vstack([density.positions_A, density.positions_A[0] + [0.0, 1.3, 0.0]]),
        np.append(density.numbers, 11),
        np.append(density.valence_e, 7.0),
        density.electrons,
        density.moment_muB,
        1.0,
        "x2.50/step00004",
    )
    with caplog.at_level(logging.WARNING, logger="redoxmd"):
        parts = partition(hidden)
    assert parts.empty.tolist() == [3]
    assert np.isnan(parts.charge_e[3])
    assert np.isnan(parts.moment_muB[3])
    assert np.isfinite(parts.charge_e[:3]).all()
    assert "x2.50/step00004" in caplog.text
    assert "Na 3" in caplog.text
    assert "finer grid" in caplog.text
    assert parts.population_e.sum() == pytest.approx(hidden.electrons, abs=CONSERVED_E)


def test_flat_and_negative_regions_are_shared_out_too():
    density = gaussians(ORTHORHOMBIC, (20, 22, 24))
    total = np.where(density.total_e_A3 < 1e-3, 0.0, density.total_e_A3)
    total[10:12, 0, :] = -1e-6
    cut = Density(total, *(getattr(density, name) for name in list(vars(density))[1:]))
    parts = partition(cut)
    assert parts.population_e.sum() == pytest.approx(total.sum() * cut.voxel_A3, abs=CONSERVED_E)
    np.testing.assert_allclose(parts.population_e, POPULATION, rtol=0, atol=0.05)


def baderkit_partition(density, monkeypatch):
    """Partition with the basins of baderkit, another implementation of the same equations; it reconfigures the root
    logger at import and logs every step of a run."""
    from pymatgen.core import Lattice, Structure

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.NullHandler()])
    level = root.level
    baderkit = pytest.importorskip("baderkit")
    root.setLevel(logging.WARNING)
    structure = Structure(Lattice(density.cell_A), density.numbers, density.positions_A, coords_are_cartesian=True)

    def basin_integrals(reference, grids, cell_A):
        # Grids of baderkit hold electrons per cell, as in a CHGCAR; `reference` is in electrons per Å³.
        points = reference.size
        runs = [
            baderkit.Bader(
                charge_grid=baderkit.Grid(structure, {"total": grid * points}),
                reference_grid=baderkit.Grid(structure, {"total": grids[0] * points}),
                method="weight",
                vacuum_tol=False,
            )
            for grid in grids
        ]
        return np.asarray(runs[0].maxima_frac), np.stack([run.basin_charges for run in runs], axis=1)

    monkeypatch.setattr(bader, "basin_integrals", basin_integrals)
    parts = partition(density)
    root.setLevel(level)
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("cell_A", [ORTHORHOMBIC, TRICLINIC], ids=["orthorhombic", "triclinic"])
def test_baderkit_gives_the_same(cell_A, monkeypatch):
    density = gaussians(cell_A, (30, 32, 36), width_A=1.0)
    ours, theirs = partition(density), baderkit_partition(density, monkeypatch)
    np.testing.assert_allclose(ours.population_e, theirs.population_e, rtol=0, atol=SAME_METHOD_E)
    np.testing.assert_allclose(ours.moment_muB, theirs.moment_muB, rtol=0, atol=SAME_METHOD_E)


@pytest.mark.slow
def test_baderkit_gives_the_same_for_a_crystal(toy_frame, monkeypatch):
    atoms, density = toy_frame
    ours, theirs = partition(density), baderkit_partition(density, monkeypatch)
    # It merges the toy's shallow P with an O; V and Na do not notice.
    cations = np.isin(atoms.numbers, [11, 23])
    np.testing.assert_allclose(ours.population_e[cations], theirs.population_e[cations], rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.moment_muB[cations], theirs.moment_muB[cations], rtol=0, atol=1e-3)


def test_the_cache_is_the_users(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    script = "import os, redoxmd.charges.numba_setup; print(os.environ['NUMBA_CACHE_DIR'])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == str(tmp_path / "redoxmd/numba")


def test_the_cache_moves_to_the_temporary_folder_when_home_is_closed(monkeypatch, tmp_path):
    from redoxmd.charges.numba_setup import _cache_folder

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "redoxmd-numba" in _cache_folder().name
