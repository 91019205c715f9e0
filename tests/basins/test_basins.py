import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from redoxmd.basins.hopping import hop_basins
from redoxmd.config.declared import settings_for
from redoxmd.config.load import parse_config
from redoxmd.config.sections import Basins, Electrons, OxidationState, Structures
from redoxmd.errors import DataError, Interrupted
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.relaxation import judge, relax
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, ensemble_identity, save_ensemble
from redoxmd.structures.build import build_structure
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import full_cell, source_cell
from tests.model.test_ensemble import aware_ensemble, members
from tests.surfaces import Surface, line_of_sites, occupied, toy_surface, wells

ROOT = Path(__file__).parents[2]
NAME = "x2.500_preferred0_1x1x1"
DEPTHS_EV = (0.3, 0.5, 0.2, 0.9)
GATE = GateSettings(low_eV_A=1.0, high_eV_A=5.0)
SETTINGS = Basins(steps=40, force_tolerance_eV_A=0.01)
# Relaxed to 0.01 eV/Å in wells of 1 eV/Å² and more.
ENERGY_TOLERANCE_EV = 1e-3


def walk(folder, calculator=None, sites=(0, 2), settings=SETTINGS, seed=3, gate=GATE, fingerprint="the same"):
    return hop_basins(
        occupied(sites),
        calculator or Surface(wells(DEPTHS_EV)),
        line_of_sites(),
        settings,
        gate,
        np.random.default_rng(seed),
        Checkpoint(folder / "state", fingerprint),
    )


def equal(run, other):
    np.testing.assert_array_equal(run.lowest.positions, other.lowest.positions)
    assert run.lowest.info == other.lowest.info
    assert run.visits.equals(other.visits)


def test_the_lowest_of_known_wells_is_found(tmp_path):
    run = walk(tmp_path)
    assert run.lowest.info["basins_energy_eV"] == pytest.approx(-(0.5 + 0.9), abs=ENERGY_TOLERANCE_EV)
    assert sorted(Occupation(run.lowest, line_of_sites()).sites_of(run.lowest.positions)) == [1, 3]
    assert run.lowest.arrays["site"].tolist() == ["Na2", "Na2", "-"]
    assert run.lowest.info["structure"] == "line"


def test_every_ordering_visited_is_recorded_with_its_energy(tmp_path):
    visits = walk(tmp_path).visits
    assert visits["step"].tolist() == list(range(41))
    assert visits["move"][0] == "start" and set(visits["move"][1:]) == {"hop", "displace"}
    assert visits["ordering"][0] == "5"
    sound = visits[(visits["refused"] == "") & (visits["move"] == "hop")]
    for ordering, energy in zip(sound["ordering"], sound["energy_eV"], strict=True):
        sites = [site for site in range(4) if int(ordering, 16) >> site & 1]
        if len(sites) == 2:
            assert energy >= -sum(DEPTHS_EV[site] for site in sites) - ENERGY_TOLERANCE_EV


def test_the_lowest_ordering_of_the_toy_crystal_is_found(tmp_path):
    """Held against all 28 ways to put six Na on the eight sites of the primitive cell, each relaxed."""
    structures, settings = Structures(), Basins(steps=25, hop_fraction=1.0)
    full_cell = source_cell(structures).atoms
    atoms = build_structure(parse_name("x3.000_random1_1x1x1"), structures, 1)
    framework = full_cell[full_cell.arrays["site"] == "-"]
    ions = full_cell[full_cell.arrays["site"] != "-"]
    energies = []
    for sites in itertools.combinations(range(8), 6):
        trial = ions[list(sites)] + framework
        trial.calc = toy_surface()
        assert relax(trial, settings, lambda: None)
        energies.append(trial.get_potential_energy())
    assert np.ptp(energies) > 0.1
    run = hop_basins(
        atoms, toy_surface(), full_cell, settings, GATE, np.random.default_rng(0), Checkpoint(tmp_path / "s", 0)
    )
    # Both are relaxed to 0.05 eV/Å only.
    assert run.lowest.info["basins_energy_eV"] == pytest.approx(min(energies), abs=0.02)
    assert run.visits["energy_eV"][0] > run.lowest.info["basins_energy_eV"]
    assert len(run.lowest) == len(atoms)


def test_refused_structures_never_win(tmp_path):
    """The deepest well is one that the members disagree about."""

    def spread(atoms):
        inside = np.abs(atoms.positions[:, 0] % 12.0 - 9.0) < 1.0
        return np.where(inside & (atoms.numbers == 11), 9.0, 0.1)

    run = walk(tmp_path, Surface(wells(DEPTHS_EV), spread))
    refused = run.visits[run.visits["refused"] == "spread_above_high"]
    assert len(refused) and not refused["accepted"].any()
    assert refused["energy_eV"].min() < run.lowest.info["basins_energy_eV"] - 0.1
    assert run.lowest.info["basins_energy_eV"] == pytest.approx(-0.8, abs=ENERGY_TOLERANCE_EV)
    assert judge_again(run, spread).refused is None


def judge_again(run, spread):
    atoms = run.lowest.copy()
    atoms.calc = Surface(wells(DEPTHS_EV), spread)
    return judge(atoms, GATE)


def test_a_close_contact_is_refused(tmp_path):
    """Two ions in one deep well would have the lowest energy of all."""
    run = walk(
        tmp_path, settings=SETTINGS.model_copy(update={"hop_fraction": 0.0, "displacement_A": 3.0, "steps": 150})
    )
    met = run.visits[run.visits["refused"] == "close_contact"]
    assert len(met) and not met["accepted"].any()
    assert judge_again(run, None).refused is None


def test_what_did_not_relax_is_refused_and_nothing_sound_is_an_error_with_its_remedy(tmp_path):
    short = SETTINGS.model_copy(update={"max_relax_steps": 1, "force_tolerance_eV_A": 1e-9, "hop_fraction": 0.0})
    steep = Surface(lambda atoms: (float((atoms.positions**2).sum()), -2 * atoms.positions))
    with pytest.raises(DataError, match=r"all 41 structures .*not_relaxed 41.*basins.max_relax_steps"):
        walk(tmp_path, steep, settings=short)


def test_forces_that_are_no_numbers_end_a_relaxation(tmp_path):
    broken = Surface(lambda atoms: (0.0, np.full((len(atoms), 3), np.nan)))
    with pytest.raises(DataError, match="not_finite 41"):
        walk(tmp_path, broken)
    assert broken.calls <= 41


@pytest.mark.parametrize("call", [1, 60, 300])
def test_stopped_and_continued_equals_uninterrupted(tmp_path, call):
    """SIGTERM at a call of the calculator: in the first relaxation, and within later ones."""
    whole = walk(tmp_path / "whole")
    surface = wells(DEPTHS_EV)

    def stopping(atoms):
        if calculator.calls == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return surface(atoms)

    calculator = Surface(stopping)
    with pytest.raises(Interrupted, match="the state is written"):
        walk(tmp_path / "part", calculator)
    equal(walk(tmp_path / "part", seed=3), whole)


def test_a_longer_walk_goes_on_and_a_shorter_one_is_walked_anew(tmp_path):
    short, long = (SETTINGS.model_copy(update={"steps": steps}) for steps in (15, 40))
    whole = walk(tmp_path / "whole", settings=long)
    first = walk(tmp_path / "part", settings=short)
    counter = Surface(wells(DEPTHS_EV))
    equal(walk(tmp_path / "part", counter, settings=long, seed=99), whole)
    again = Surface(wells(DEPTHS_EV))
    equal(walk(tmp_path / "part", again, settings=short), first)
    assert again.calls > 0


def test_the_seed_decides(tmp_path):
    assert not walk(tmp_path / "a").visits.equals(walk(tmp_path / "b", seed=4).visits)


def test_a_cold_walk_only_goes_down(tmp_path):
    visits = walk(tmp_path, settings=SETTINGS.model_copy(update={"temperature_K": 1.0})).visits
    accepted = visits["energy_eV"][visits["accepted"]].to_numpy()
    assert np.all(np.diff(accepted) <= ENERGY_TOLERANCE_EV)


def test_it_walks_with_an_ensemble(tmp_path):
    calculator = EnsembleCalculator(Ensemble(members()))
    settings = Basins(steps=2, max_relax_steps=3, force_tolerance_eV_A=50.0)
    gate = GateSettings(low_eV_A=1e6, high_eV_A=1e6, min_distance_fraction=0.1)
    run = walk(tmp_path, calculator, settings=settings, gate=gate)
    assert len(run.visits) == 3
    assert run.visits["spread_eV_A"].max() > 0


def test_a_walk_with_oxidation_states_does_not_depend_on_where_it_was_stopped(tmp_path):
    """With so short a reach that states which swaps lead to differ from the lowest ones."""
    levels = {"V": {3: OxidationState(moment_muB=1.85), 4: OxidationState(moment_muB=1.05)}}
    ensemble, structures = aware_ensemble(), Structures()
    atoms = build_structure(parse_name(NAME), structures, 1)

    def walked(folder, steps):
        return hop_basins(
            atoms,
            EnsembleCalculator(ensemble, Electrons(levels=levels, reach_A=4.5)),
            full_cell(structures, (1, 1, 1)),
            Basins(steps=steps, force_tolerance_eV_A=0.3, max_relax_steps=20, temperature_K=3000.0),
            GateSettings(low_eV_A=1e3, high_eV_A=1e4, min_distance_fraction=0.01),
            np.random.default_rng(5),
            Checkpoint(tmp_path / folder, 0),
        )

    whole = walked("whole", 5)
    assert not whole.visits["refused"].any()
    write_frames(tmp_path / "lowest.extxyz", [whole.lowest])
    (lowest,) = read_frames(tmp_path / "lowest.extxyz")
    assert sorted(lowest.arrays["oxidation"][lowest.numbers == 23]) == [3, 3, 3, 4]
    assert ensemble.predict(lowest).energy_eV == pytest.approx(lowest.info["basins_energy_eV"], abs=1e-4)
    # A state of the start does not hold the electrons.
    atoms.set_array("oxidation", np.where(atoms.numbers == 23, 3, 0))
    equal(walked("given", 5), whole)
    for stop in range(1, 5):
        walked(f"part{stop}", stop)
        equal(walked(f"part{stop}", 5), whole)


JOB = """
import json, runpy, sys
from types import SimpleNamespace
from snakemake.iocontainers import Params
script, name, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
files = {key: SimpleNamespace(**given[key]) for key in ("input", "output")}
job = {"rule": "basins", "threads": 1, "log": [given["log"]], "config": given["config"], **files}
job |= {"wildcards": SimpleNamespace(structure=name), "params": Params(fromdict=given["params"])}
runpy.run_path(script, init_globals={"snakemake": SimpleNamespace(**job)})
"""


@pytest.mark.parametrize("reach_A", [None, 6.5, 4.5])
def test_a_state_made_with_another_reach_is_not_continued(tmp_path, reach_A):
    """And one made before the reach was declared is: at its default the state's identity is what it was."""
    atoms = build_structure(parse_name(NAME), Structures(), 1)
    write_frames(tmp_path / "atoms.extxyz", [atoms])
    save_ensemble(tmp_path / "ensemble.pt", aware_ensemble())
    electrons = {"levels": {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}}
    electrons |= {"reach_A": reach_A} if reach_A else {}
    raw = {"electrons": electrons, "basins": {"steps": 1, "max_relax_steps": 20, "force_tolerance_eV_A": 0.3}}
    config, limits = parse_config(raw), {"high_eV_A": 1e4, "statistic": "max", "min_distance_fraction": 0.01}
    basins = settings_for("basins", config.basins)
    params = {"basins": basins, "gate": limits, "seed": 1, "state": str(tmp_path / "state")}
    given = {
        "params": params | settings_for("basins", config.electrons),
        "config": raw,
        "log": str(tmp_path / "log"),
        "input": {"atoms": str(tmp_path / "atoms.extxyz"), "ensemble": str(tmp_path / "ensemble.pt")},
        "output": {"visits": str(tmp_path / "visits.csv"), "atoms": str(tmp_path / "lowest.extxyz")},
    }
    command = [sys.executable, "-c", JOB, str(ROOT / "workflow/scripts/basins.py"), NAME, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(read_frames(tmp_path / "lowest.extxyz")) == 1
    model = ensemble_identity(tmp_path / "ensemble.pt")
    walked = {key: value for key, value in basins.items() if key != "steps"}
    before = [file_sha256(tmp_path / "atoms.extxyz"), model, walked, limits, NAME, 1, 1]
    assert Checkpoint.fits(tmp_path / "state", before) == (reach_A != 4.5)


class TestOccupation:
    def full_and_part(self):
        structures = Structures(volume_A3_per_fu={1.0: 230.0, 3.0: 245.0})
        full_cell = source_cell(structures).atoms.repeat((2, 1, 1))
        return full_cell, build_structure(parse_name("x2.500_preferred3_2x1x1"), structures, 5)

    def test_a_built_structure_is_at_the_sites_it_names(self):
        full_cell, atoms = self.full_and_part()
        occupation = Occupation(atoms, full_cell)
        sites = occupation.sites_of(atoms.positions)
        assert len(set(sites.tolist())) == len(occupation.ions) == 10
        assert [occupation.names[site] for site in sites] == atoms.arrays["site"][occupation.ions].tolist()
        distances = np.linalg.norm(
            atoms.positions[occupation.ions] - occupation.site_positions_A(atoms.positions)[sites], axis=1
        )
        assert distances.max() < 1e-6

    def test_it_does_not_depend_on_drift_or_wrapping(self):
        full_cell, atoms = self.full_and_part()
        occupation = Occupation(atoms, full_cell)
        before = occupation.ordering(atoms.positions)
        moved = atoms.copy()
        moved.positions += [0.4, -1.3, 2.2]
        moved.wrap()
        assert occupation.ordering(moved.positions) == before

    def test_a_hop_goes_to_the_site_asked_for_and_is_named(self):
        full_cell, atoms = self.full_and_part()
        occupation = Occupation(atoms, full_cell)
        site = int(occupation.empty(atoms.positions)[0])
        ion = int(occupation.ions[2])
        occupation.move(atoms.positions, ion, site)
        assert occupation.sites_of(atoms.positions)[2] == site
        assert occupation.with_current_sites(atoms).arrays["site"][ion] == occupation.names[site]
        assert occupation.labels[site].split(":")[0] == occupation.names[site]
