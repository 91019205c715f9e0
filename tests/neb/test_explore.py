"""Images of paths as candidates for labels."""

import dataclasses

import numpy as np
import pytest

from redoxmd.config.sections import Electrons, Neb, NebPath, OxidationState, Select, Structures
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble
from redoxmd.neb.run import PathTask, explore_path, run_path
from redoxmd.select import select
from redoxmd.structures.build import build_structure
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import full_cell
from tests.model.test_ensemble import aware_ensemble, members
from tests.surfaces import Surface, ionic_energy

NAME = "x2.500_preferred0_1x1x1"
GATE = GateSettings(low_eV_A=1.0, high_eV_A=5.0, min_distance_fraction=0.3)
SETTINGS = Neb(images=9, force_tolerance_eV_A=2.0)


@pytest.fixture(scope="module")
def path():
    """A hop to an empty Na2 in the toy crystal: its start, and the index and way of its ion."""
    structures = Structures()
    atoms = build_structure(parse_name(NAME), structures, 1)
    occupation = Occupation(atoms, full_cell(structures, (1, 1, 1)))
    at = occupation.sites_of(atoms.positions)
    start = next(int(site) for site in at if occupation.names[site] == "Na2")
    end = int(occupation.empty(atoms.positions)[0])
    ion = int(occupation.ions[list(at).index(start)])
    final = atoms.copy()
    occupation.move(final.positions, ion, end)
    moves = ((occupation.labels[start], occupation.labels[end]),)
    return atoms, NebPath(name="hop", x=2.5, moves=moves), ion, final.positions[ion] - atoms.positions[ion]


def explored(path, tmp_path, spread=None, settings=SETTINGS, energy=ionic_energy):
    atoms, hop, ion, way = path

    def of_place(frame):
        """A spread by how far the ion has come."""
        share = (frame.positions[ion] - atoms.positions[ion]) @ way / (way @ way)
        return np.full(len(frame), spread(share) if spread else 0.2)

    checkpoint = Checkpoint(tmp_path / "s", 0)
    return explore_path(
        PathTask([atoms], hop, Structures(), lambda: Surface(energy, of_place), settings, GATE, checkpoint)
    )


def test_images_in_a_planted_region_become_candidates_and_those_beyond_it_never(path, tmp_path):
    run = explored(path, tmp_path, lambda share: 9.0 if 0.4 < share < 0.6 else 2.5 if 0.2 < share < 0.8 else 0.3)
    profile = run.profile
    passages = profile["passage"].tolist()
    assert passages[0] == passages[-1] == "go_on" and {"candidate", "stop"} < set(passages)
    assert run.record.end_reason == "converged" and run.record.images == 9
    assert run.record.n_candidates == len(run.candidates) == passages.count("candidate")
    assert run.record.n_refused == passages.count("stop") > 0
    assert run.record.max_spread_eV_A == 9.0
    numbers = profile.index[profile["passage"] == "candidate"].tolist()
    assert [frame.info["image"] for frame in run.candidates] == numbers
    write_frames(tmp_path / "c.extxyz", run.candidates)
    for frame in read_frames(tmp_path / "c.extxyz"):
        assert frame.info["structure"] == NAME and frame.info["path"] == "hop" and frame.calc is None
        assert frame.info["spread_eV_A"] == 2.5


def test_they_pass_through_select_beside_frames_of_md(path, tmp_path):
    run = explored(path, tmp_path, lambda share: 2.5)
    other = path[0].copy()
    other.rattle(0.1, seed=0)
    other.info = {"structure": NAME, "step": 40, "spread_eV_A": 1.5}
    twin = run.candidates[3].copy()
    found = select([other, *run.candidates, twin], [run.candidates[0]], Ensemble(members()), Select(budget=3), 0)
    assert [frame.info["label_id"] for frame in found.frames] == ["g0f000", "g0f001", "g0f002"]
    reasons = [row["reason"] for row in found.refused]
    # The last image is the first by symmetry.
    assert (reasons.count("already_labelled"), reasons.count("duplicate")) == (2, 1)
    assert {row["path"] for row in found.refused} <= {"hop", None}
    write_frames(tmp_path / "selected.extxyz", found.frames)
    assert len(read_frames(tmp_path / "selected.extxyz")) == 3


def test_a_band_that_is_not_found_is_judged_as_far_as_it_came(path, tmp_path):
    short = SETTINGS.model_copy(update={"max_band_steps": 1, "force_tolerance_eV_A": 0.05, "max_relax_steps": 2000})
    run = explored(path, tmp_path, lambda share: 2.5, short)
    assert run.record.end_reason == "not_converged" and len(run.candidates) == 9


def test_an_end_that_is_no_minimum_is_judged_and_no_error(path, tmp_path):
    home = path[0].positions

    def drawn_home(atoms):
        away = atoms.positions - home
        return float((away**2).sum()), -2 * away

    run = explored(
        path, tmp_path, lambda share: 2.5, SETTINGS.model_copy(update={"force_tolerance_eV_A": 0.1}), drawn_home
    )
    assert run.record.end_reason == "left_its_site"
    assert run.record.images == len(run.candidates) == 2
    unmoved = explored(path, tmp_path / "t", None, Neb(max_relax_steps=1, force_tolerance_eV_A=1e-9))
    assert (unmoved.record.end_reason, unmoved.record.images) == ("not_relaxed", 1)
    assert unmoved.candidates == []


def test_guards_refuse_what_the_spread_lets_pass(path, tmp_path):
    atoms, hop, _, _ = path
    strict = GateSettings(low_eV_A=1.0, high_eV_A=5.0, min_distance_fraction=0.99)
    task = PathTask(
        [atoms], hop, Structures(), lambda: Surface(ionic_energy, lambda frame: np.full(len(frame), 2.5)), SETTINGS,
        strict, Checkpoint(tmp_path / "s", 0),
    )  # fmt: skip
    run = explore_path(task)
    assert set(run.profile["refused"]) == {"close_contact"} and run.candidates == []
    assert run.record.n_refused == 9


LEVELS = {"V": {3: OxidationState(moment_muB=1.85), 4: OxidationState(moment_muB=1.05)}}


class TestStates:
    """Paths of an ensemble that distinguishes oxidation states."""

    def task(self, path, folder, ensemble, max_band_steps=4, tolerance_eV_A=0.2):
        # So short a reach that states which swaps lead to differ from the lowest ones.
        electrons = Electrons(levels=LEVELS, reach_A=4.5)
        settings = Neb(images=5, force_tolerance_eV_A=tolerance_eV_A, max_band_steps=max_band_steps)
        gate = GateSettings(low_eV_A=1e-6, high_eV_A=1e4, min_distance_fraction=0.01)
        atoms, hop = path[:2]
        return PathTask(
            [atoms],
            hop,
            Structures(),
            lambda: EnsembleCalculator(ensemble, electrons, all_swaps=True),
            settings,
            gate,
            Checkpoint(folder, 0),
        )

    def test_images_and_candidates_have_their_states_and_pass_through_select(self, path, tmp_path):
        ensemble = aware_ensemble()
        run = run_path(self.task(path, tmp_path / "s", ensemble, 50, 0.5))
        write_frames(tmp_path / "images.extxyz", run.images)
        images = read_frames(tmp_path / "images.extxyz")
        for image in images:
            assert ensemble.predict(image).energy_eV == pytest.approx(image.get_potential_energy(), abs=1e-4)
            charges = {"Na": 1, "P": 5, "O": -2, "V": 0}
            assert sum(charges[symbol] for symbol in image.symbols) + image.arrays["oxidation"].sum() == 0
        write_frames(tmp_path / "candidates.extxyz", run.candidates)
        candidates = read_frames(tmp_path / "candidates.extxyz")
        assert len(candidates) == 5
        for candidate, image in zip(candidates, images, strict=True):
            assert candidate.arrays["oxidation"].tolist() == image.arrays["oxidation"].tolist()
        found = select(candidates, [], ensemble, Select(budget=2), 0)
        write_frames(tmp_path / "selected.extxyz", found.frames)
        assert [np.unique(f.arrays["oxidation"]).tolist() for f in read_frames(tmp_path / "selected.extxyz")] == [
            [0, 3, 4]
        ] * 2

    def test_continued_equals_uninterrupted(self, path, tmp_path):
        ensemble = aware_ensemble()
        whole = explore_path(self.task(path, tmp_path / "whole", ensemble, 8))
        explore_path(self.task(path, tmp_path / "part", ensemble, 4))
        part = explore_path(self.task(path, tmp_path / "part", ensemble, 8))
        assert whole.record.end_reason == "not_converged"
        for name, run in (("whole", whole), ("part", part)):
            write_frames(tmp_path / f"{name}.extxyz", run.candidates)
        assert (tmp_path / "part.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
        assert part.profile.equals(whole.profile)

    def test_electrons_follow_unless_they_are_frozen(self, path, tmp_path):
        """From a start that has a state, which is not its lowest; lowest states by trying all neutral ones."""
        ensemble, (atoms, hop) = aware_ensemble(), path[:2]
        vanadium = np.flatnonzero(atoms.numbers == 23)
        states = np.tile(np.where(atoms.numbers == 23, 3, 0), (4, 1))
        states[range(4), vanadium] = 4

        def energies(frame):
            values = []
            for state in states:
                other = frame.copy()
                other.set_array("oxidation", state)
                values.append(ensemble.predict(other).energy_eV)
            return np.array(values)

        given = atoms.copy()
        given.set_array("oxidation", states[energies(atoms).argmax()])
        write_frames(tmp_path / "start.extxyz", [given])
        images = {}
        for electrons in ("follow", "frozen"):
            task = self.task((read_frames(tmp_path / "start.extxyz")[0], hop), tmp_path / electrons, ensemble, 50, 0.5)
            task = dataclasses.replace(task, settings=task.settings.model_copy(update={"electrons": electrons}))
            write_frames(tmp_path / f"{electrons}.extxyz", run_path(task).images)
            images[electrons] = read_frames(tmp_path / f"{electrons}.extxyz")
        for image in images["frozen"]:
            assert image.arrays["oxidation"].tolist() == given.arrays["oxidation"].tolist()
            assert image.get_potential_energy() == pytest.approx(ensemble.predict(image).energy_eV, abs=1e-4)
        for end in (images["follow"][0], images["follow"][-1]):
            assert end.arrays["oxidation"].tolist() != given.arrays["oxidation"].tolist()
            # The reach of the test is short: only swaps with neighbours are tried after the first call.
            assert end.get_potential_energy() <= np.sort(energies(end))[-2] + 1e-4

    def test_frozen_without_a_given_state_is_the_lowest_state_of_the_initial_end(self, path, tmp_path):
        ensemble = aware_ensemble()
        task = self.task(path, tmp_path / "s", ensemble, 50, 0.5)
        task = dataclasses.replace(task, settings=task.settings.model_copy(update={"electrons": "frozen"}))
        write_frames(tmp_path / "images.extxyz", run_path(task).images)
        states = {tuple(image.arrays["oxidation"]) for image in read_frames(tmp_path / "images.extxyz")}
        assert len(states) == 1
        assert sorted(max(states))[-4:] == [3, 3, 3, 4]
