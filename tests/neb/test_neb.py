import os
import signal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from ase.calculators.fd import calculate_numerical_forces

from redoxmd.config.sections import Electrons, EngineSettings, Neb, NebPath, OxidationState, Structures, Toy
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import get_engine
from redoxmd.engines.toy import ionic_energy, two_state_energy
from redoxmd.errors import ConfigError, DataError, Interrupted, LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble
from redoxmd.neb.band import find_path
from redoxmd.neb.ends import path_ends
from redoxmd.neb.profile import (
    barrier_record,
    candidate_frames,
    image_frames,
    join_profiles,
    profile_table,
    single_point_energies,
)
from redoxmd.structures.build import build_structure
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import source_cell
from tests.model.test_ensemble import members
from tests.surfaces import Surface, double_well, line_of_sites, occupied, toy_surface

BARRIER_EV = 0.42
GATE = GateSettings(low_eV_A=1.0, high_eV_A=5.0)
SETTINGS = Neb(images=7, force_tolerance_eV_A=0.005)
# What a force of 0.005 eV/Å leaves in a surface of 0.5 eV/Å² and more.
ENERGY_TOLERANCE_EV = 1e-4


def band(folder, surface=None, settings=SETTINGS, make=None):
    start = occupied((0,))
    ends = path_ends(start, line_of_sites(), NebPath(name="p", x=1.0, moves=(("Na1:0", "Na2:0"),)))
    surface = surface or double_well(BARRIER_EV)
    return find_path(
        ends,
        Occupation(start, line_of_sites()),
        make or (lambda: Surface(surface)),
        settings,
        "p",
        Checkpoint(folder / "state", 0),
    )


def test_the_double_well_is_what_it_says():
    atoms = occupied((0,))
    atoms.calc = Surface(double_well(BARRIER_EV, tilt_eV=0.1))
    atoms.positions[0] = [1.1, 0.5, 0.2]
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-5), atol=1e-6)


def test_the_barrier_of_a_double_well_is_the_analytic_one(tmp_path):
    images = band(tmp_path)
    record = barrier_record(images)
    assert record["saddle_image"] == 3
    assert record["barrier_forward_eV"] == pytest.approx(BARRIER_EV, abs=ENERGY_TOLERANCE_EV)
    assert record["barrier_back_eV"] == pytest.approx(BARRIER_EV, abs=ENERGY_TOLERANCE_EV)
    # Off the straight line between the ends, which passes 0.8 Å below.
    np.testing.assert_allclose(images[3].positions[0], [1.5, 0.8, 0.0], atol=0.01)


def test_a_climbing_image_meets_a_saddle_that_no_image_would_fall_on(tmp_path):
    tilt = 0.15
    record = barrier_record(band(tmp_path, double_well(BARRIER_EV, tilt), SETTINGS.model_copy(update={"images": 6})))
    u = np.linspace(-1, 1, 200_001)
    top = (BARRIER_EV * (u**2 - 1) ** 2 + tilt * (1 + u * (3 - u**2) / 2) / 2).max()
    assert record["barrier_forward_eV"] == pytest.approx(top, abs=ENERGY_TOLERANCE_EV)
    assert record["barrier_back_eV"] == pytest.approx(top - tilt, abs=ENERGY_TOLERANCE_EV)


def test_the_error_of_a_barrier_is_the_spread_of_the_members_own(tmp_path):
    images = band(tmp_path)
    # Members with 0.9, 1 and 1.1 of the height, whatever they add to all energies.
    for image in images:
        image.calc.results["member_energies"] = image.calc.results["member_energies"] + np.array([5.0, -3.0, 1.0])
    assert barrier_record(images)["barrier_forward_spread_eV"] == pytest.approx(0.1 * BARRIER_EV, rel=1e-3)
    profile = profile_table(images, GATE)
    assert profile["energy_eV"][0] == profile["energy_spread_eV"][0] == 0.0
    assert profile["energy_spread_eV"][3] == pytest.approx(0.1 * BARRIER_EV, rel=1e-3)


def test_the_coordinate_is_the_length_of_the_path(tmp_path):
    images = band(tmp_path)
    coordinate = profile_table(images, GATE)["coordinate_A"].to_numpy()
    assert coordinate[0] == 0.0
    walked = [np.linalg.norm(b.positions - a.positions) for a, b in pairwise(images)]
    np.testing.assert_allclose(np.diff(coordinate), walked)
    # A parabola of height 0.8 over 3 Å is 3.5 Å long.
    assert coordinate[-1] == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize("call", [1, 40, 150, 200])
def test_stopped_and_continued_equals_uninterrupted(tmp_path, call):
    whole = band(tmp_path / "whole")
    calls = []

    def stopping(atoms):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return double_well(BARRIER_EV)(atoms)

    with pytest.raises(Interrupted, match="the state is written"):
        band(tmp_path / "part", stopping)
    for image, other in zip(band(tmp_path / "part"), whole, strict=True):
        np.testing.assert_array_equal(image.positions, other.positions)


def test_a_band_that_does_not_converge_is_an_error_and_a_larger_limit_goes_on(tmp_path):
    whole = band(tmp_path / "whole")
    with pytest.raises(DataError, match=r"after 10 steps a force of .*raise neb.max_band_steps"):
        band(tmp_path / "part", settings=SETTINGS.model_copy(update={"max_band_steps": 10}))
    for image, other in zip(band(tmp_path / "part"), whole, strict=True):
        np.testing.assert_array_equal(image.positions, other.positions)


def test_an_end_that_does_not_relax_or_leaves_its_site_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"initial end did not relax .*neb.max_relax_steps"):
        band(
            tmp_path / "a",
            double_well(BARRIER_EV),
            SETTINGS.model_copy(update={"max_relax_steps": 1, "force_tolerance_eV_A": 1e-9}),
            lambda: Surface(lambda atoms: (1.0, np.ones((2, 3)))),
        )
    # One well only, around the first site.
    single = Surface(
        lambda atoms: (float((atoms.positions[:1] ** 2).sum()), np.array([-2 * atoms.positions[0], [0, 0, 0]]))
    )
    with pytest.raises(DataError, match=r"final end is not a minimum .*Na2:0 → Na1:0"):
        band(tmp_path / "b", make=lambda: Surface(single.function))


def test_forces_that_are_no_numbers_end_it(tmp_path):
    def broken(atoms):
        energy, forces = double_well(BARRIER_EV)(atoms)
        return energy, np.full_like(forces, np.nan) if abs(atoms.positions[0, 0] - 1.5) < 1 else forces

    with pytest.raises(DataError, match="NaN or infinite"):
        band(tmp_path, broken)


def test_only_images_between_the_thresholds_are_candidates(tmp_path):
    def spread(atoms):
        x = atoms.positions[0, 0]
        return np.full(len(atoms), 9.0 if abs(x - 1.5) < 0.1 else 2.0 if 0.3 < x < 2.3 else 0.2)

    surface = double_well(BARRIER_EV)
    images = band(tmp_path, make=lambda: Surface(surface, spread))
    profile = profile_table(images, GATE)
    frames = image_frames(images, profile, {"path": "p", "structure": "line"})
    found = candidate_frames(frames, profile)
    assert profile["refused"][3] == "spread_above_high" and profile["passage"][3] == "stop"
    assert [frame.info["image"] for frame in found] == [1, 2, 4]
    assert all(1 <= frame.info["spread_eV_A"] <= 5 and frame.calc is None for frame in found)
    write_frames(tmp_path / "c.extxyz", found)
    assert [frame.info["path"] for frame in read_frames(tmp_path / "c.extxyz")] == ["p", "p", "p"]
    assert frames[3].get_potential_energy() == images[3].get_potential_energy()
    assert frames[3].info["engine"] == "ensemble"


def nvp(name="x2.500_preferred0_1x1x1"):
    structures = Structures()
    full_cell = source_cell(structures).atoms
    return build_structure(parse_name(name), structures, 1), full_cell


class TestEnds:
    def exchange(self):
        """A concerted move as in the paper: Na(2) → Na(1) → another Na(2)."""
        atoms, full_cell = nvp()
        occupation = Occupation(atoms, full_cell)
        sites = set(occupation.sites_of(atoms.positions).tolist())
        second = [site for site, name in enumerate(occupation.names) if name == "Na2"]
        full = next(site for site in second if site in sites)
        empty = next(site for site in second if site not in sites)
        moves = ((occupation.labels[full], "Na1:0"), ("Na1:0", occupation.labels[empty]))
        return atoms, full_cell, occupation, moves

    def test_ends_are_at_the_sites_asked_for(self):
        atoms, full_cell, occupation, moves = self.exchange()
        before = {occupation.labels[site] for site in occupation.sites_of(atoms.positions)}
        initial, final = path_ends(atoms, full_cell, NebPath(name="p", x=2.5, moves=moves))
        np.testing.assert_array_equal(initial.positions, atoms.positions)
        after = {occupation.labels[site] for site in occupation.sites_of(final.positions)}
        assert after == before - {moves[0][0]} | {moves[1][1]}
        moved = np.flatnonzero(np.linalg.norm(final.positions - initial.positions, axis=1) > 1e-9)
        assert len(moved) == 2
        # Neighbouring sites, by the shortest way: 3 to 5 Å.
        assert np.linalg.norm(final.positions - initial.positions, axis=1).max() < 6.0
        places = dict(zip(occupation.labels, occupation.site_positions_A(final.positions), strict=True))
        periodic = PeriodicCell(np.asarray(atoms.cell))
        for start, end in moves:
            (ion,) = [
                ion for ion in moved if np.allclose(periodic.minimum_image(atoms.positions[ion] - places[start]), 0)
            ]
            np.testing.assert_allclose(periodic.minimum_image(final.positions[ion] - places[end]), 0, atol=1e-9)
        sites = final.arrays["site"][occupation.ions].tolist()
        assert sites == [occupation.names[site] for site in occupation.sites_of(final.positions)]

    @pytest.mark.parametrize(
        ("moves", "words"),
        [
            ((("Na9:0", "Na2:1"),), "no site Na9:0; ions are at .*empty are"),
            ((("EMPTY", "Na1:0"),), "no ion at Na2"),
            ((("FULL", "Na1:0"),), "two meet at Na1:0"),
            ((("Na1:0", "EMPTY"), ("Na1:0", "EMPTY")), "moves twice|two meet"),
        ],
    )
    def test_impossible_moves_are_refused_with_the_sites_there_are(self, moves, words):
        atoms, full_cell, _, exchange = self.exchange()
        names = {"FULL": exchange[0][0], "EMPTY": exchange[1][1]}
        path = NebPath(name="p", x=2.5, moves=tuple((names.get(a, a), names.get(b, b)) for a, b in moves))
        with pytest.raises(ConfigError, match=rf"neb.paths, p, moves: .*({words})"):
            path_ends(atoms, full_cell, path)

    def test_a_file_is_read_along_the_shortest_way_and_must_hold_the_same_atoms(self, tmp_path):
        atoms, full_cell, _, moves = self.exchange()
        _, final = path_ends(atoms, full_cell, NebPath(name="p", x=2.5, moves=moves))
        wrapped = final.copy()
        wrapped.wrap()
        write_frames(tmp_path / "final.extxyz", [wrapped])
        path = NebPath(name="p", x=2.5, final=tmp_path / "final.extxyz")
        np.testing.assert_allclose(path_ends(atoms, full_cell, path)[1].positions, final.positions, atol=1e-6)
        write_frames(tmp_path / "final.extxyz", [wrapped[:-1]])
        with pytest.raises(ConfigError, match="does not hold the start's 39 atoms"):
            path_ends(atoms, full_cell, path)


def test_the_same_atoms_by_toy_as_ensemble_and_reference_agree(tmp_path):
    """A hop in the toy crystal, the toy engine beside it: one surface, so one profile."""
    atoms, full_cell, occupation, moves = TestEnds().exchange()
    empty, full = moves[1][1], moves[0][0]
    ends = path_ends(atoms, full_cell, NebPath(name="hop", x=2.5, moves=((full, empty),)))
    settings = Neb(images=5, force_tolerance_eV_A=0.1)
    images = find_path(ends, occupation, toy_surface, settings, "hop", Checkpoint(tmp_path / "s", 0))
    profile, record = profile_table(images, GATE), barrier_record(images)
    frames = image_frames(images, profile, {"path": "hop"})
    write_frames(tmp_path / "images.extxyz", frames)
    images = read_frames(tmp_path / "images.extxyz")
    engine = get_engine(EngineSettings(name="toy"))
    reference = single_point_energies(images, engine, Checkpoint(tmp_path / "r", 0), "hop")
    profiles, barriers = join_profiles({"hop": profile}, {"hop": record}, {"hop": reference})
    np.testing.assert_allclose(profiles["reference_eV"], profiles["energy_eV"], atol=1e-5)
    assert barriers["reference_forward_eV"][0] == pytest.approx(barriers["barrier_forward_eV"][0], abs=1e-5)
    assert barriers["reference_back_eV"][0] == pytest.approx(barriers["barrier_back_eV"][0], abs=1e-5)
    assert barriers["barrier_forward_eV"][0] > 0.1


class Refusing:
    """An engine that refuses one image and counts its calls."""

    def __init__(self, refused):
        self.refused, self.calls, self.forgotten = refused, 0, []

    def forget(self, without_hubbard=None):
        self.forgotten.append(self.calls)

    def calculate(self, atoms):
        self.calls += 1
        if self.calls - 1 == self.refused:
            raise LabelRefused("unconverged", "as asked")
        energy, _, _ = ionic_energy(atoms)
        return type("Label", (), {"energy_eV": energy})()


def test_a_refused_image_has_no_reference_energy_and_the_others_have(tmp_path):
    atoms, _ = nvp()
    engine = Refusing(2)
    table = single_point_energies([atoms] * 4, engine, Checkpoint(tmp_path / "r", 0), "p")
    # The image after the refused one starts without its electrons.
    assert engine.forgotten == [3]
    assert table["reference_refused"].tolist() == ["", "", "unconverged", ""]
    assert table["reference_total_eV"].isna().tolist() == [False, False, True, False]


def test_reference_images_are_calculated_once(tmp_path):
    atoms, _ = nvp()
    first = single_point_energies([atoms] * 2, Refusing(9), Checkpoint(tmp_path / "r", 0), "p")
    engine = Refusing(9)
    table = single_point_energies([atoms] * 4, engine, Checkpoint(tmp_path / "r", 0), "p")
    assert engine.calls == 2
    assert table["reference_total_eV"][:2].tolist() == first["reference_total_eV"].tolist()


def test_reference_images_are_started_in_their_states_and_refused_in_others(tmp_path):
    """Against the toy's energies of each state; electrons of the image before are kept only in the same state."""
    atoms, _ = nvp()
    vanadium, forgotten, images = np.flatnonzero(atoms.numbers == 23), [], []
    for site in (0, 0, 2):
        image = atoms.copy()
        image.set_array("oxidation", np.where(atoms.numbers == 23, 3, 0))
        image.arrays["oxidation"][vanadium[site]] = 4
        images.append(image)
    levels = OxidationLevels.of(
        Electrons(levels={"V": {3: OxidationState(moment_muB=2.0), 4: OxidationState(moment_muB=1.0)}})
    )
    right = get_engine(EngineSettings(name="toy", toy=Toy(two_state=True)))
    right.forget = lambda: forgotten.append(1)
    table = single_point_energies(images, right, Checkpoint(tmp_path / "r", 0), "p", levels)
    expected = [two_state_energy(image, image.arrays["oxidation"])[0] for image in images]
    np.testing.assert_allclose(table["reference_total_eV"], expected, atol=1e-9)
    assert abs(expected[2] - expected[0]) > 1e-3 and forgotten == [1]
    wrong = get_engine(EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=1.0)))
    table = single_point_energies(images[:1], wrong, Checkpoint(tmp_path / "w", 0), "p", levels)
    assert (
        table["reference_refused"].tolist() == ["wrong_electronic_state"] and table["reference_total_eV"].isna().all()
    )


def test_without_a_reference_the_column_is_empty():
    profile = pd.DataFrame({"image": [0, 1, 2], "energy_eV": [0.0, 0.3, 0.1]})
    profiles, barriers = join_profiles({"p": profile}, {"p": {"saddle_image": 1, "barrier_forward_eV": 0.3}}, {})
    assert profiles["reference_eV"].isna().all()
    assert barriers["reference_forward_eV"].isna().all()


def test_a_band_of_an_ensemble_has_every_members_energy(tmp_path):
    ensemble = Ensemble(members())
    settings = SETTINGS.model_copy(update={"images": 3, "force_tolerance_eV_A": 50.0})
    images = band(tmp_path, settings=settings, make=lambda: EnsembleCalculator(ensemble))
    assert len(images) == 3
    mean = [image.calc.results["member_energies"].mean() for image in images]
    np.testing.assert_allclose(mean, [image.get_potential_energy() for image in images])
    assert np.isfinite(profile_table(images, GATE)["energy_spread_eV"]).all()
