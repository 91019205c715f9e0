"""What the files of a finished campaign say, computed once more from the files they were made from.

Readers and arithmetic are this module's own: json, csv, h5py, numpy and thirty lines for extended XYZ. Of redoxmd it
takes one thing, the descriptors of the trained networks, which no file holds.
"""

import csv
import hashlib
import itertools
import json
import shlex

import h5py
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

pytestmark = pytest.mark.workflow

# Why a candidate is refused, beside the budget: it is there already, or its ordering is that of a held-out run.
TWIN = ("duplicate", "already_labelled")
HELD_OUT = ("test_ordering", "validation_ordering")
GUARDS = ("close_contact", "temperature_runaway")
CM2_PER_S = 0.1  # of Å²/fs
BOLTZMANN_EV_K = 8.617333262e-5
SYMBOLS = ("O", "Na", "P", "V")
NUMBERS = (8, 11, 15, 23)
MASSES = (15.999, 22.98976928, 30.973761998, 50.9415)
# Columns of extended XYZ have eight decimals; CSV of traces six digits, of figures eight.
COLUMN_A = 1.1e-8
TRACE = 5.1e-6
PLOTTED = 1e-7


class Frame:
    """One frame of an extended XYZ file: `info` as text, columns as arrays."""

    def __init__(self, comment, rows):
        self.info = dict(word.split("=", 1) for word in shlex.split(comment) if "=" in word)
        columns, start = self.info["Properties"].split(":"), 0
        for name, kind, width in zip(columns[::3], columns[1::3], map(int, columns[2::3]), strict=True):
            values = [row[start : start + width] for row in rows]
            setattr(
                self, name, np.array(values, dtype=float if kind in "RI" else str).squeeze(axis=1 if width == 1 else ())
            )
            start += width
        self.cell = np.array(self.info["Lattice"].split(), dtype=float).reshape(3, 3)

    @property
    def name(self):
        return self.info["config_id"], int(self.info["step"])


def frames(path):
    lines, found = path.read_text(encoding="utf-8").splitlines(), []
    while lines:
        count = int(lines[0])
        found.append(Frame(lines[1], [line.split() for line in lines[2 : 2 + count]]))
        lines = lines[2 + count :]
    return found


def record(path):
    return json.loads(path.read_text(encoding="utf-8"))


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(table, key):
    return np.array([float(row[key] or "nan") for row in table])


def numbered(folder, pattern="gen*"):
    """Generation → folder or file."""
    names = {path: path.stem.removeprefix("gen") for path in folder.glob(pattern)}
    return {int(name): path for path, name in names.items() if name.isdigit()}


def distances(frame):
    """Sorted distances below 4 Å between atoms, by pair of elements: the same for the same geometry."""
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ frame.cell
    moved = frame.pos[None, :, None] + shifts[None, None] - frame.pos[:, None, None]
    apart = np.linalg.norm(moved, axis=-1)
    pairs = {}
    for i, j in itertools.product(range(len(frame.pos)), repeat=2):
        near = apart[i, j][(apart[i, j] < 4.0) & (apart[i, j] > 1e-6)]
        pairs.setdefault(tuple(sorted((frame.species[i], frame.species[j]))), []).extend(near)
    return {pair: np.sort(values) for pair, values in pairs.items()}


def twins(one, other, tolerance_A):
    """Whether two tables of `distances` are of one geometry."""
    return one.keys() == other.keys() and all(
        len(one[pair]) == len(other[pair]) and np.abs(one[pair] - other[pair]).max(initial=0) <= tolerance_A
        for pair in one
    )


def same_place(one, other):
    """Whether two frames have the same atoms at the same places of the same cell, up to lattice vectors."""
    if list(one.species) != list(other.species) or np.abs(one.cell - other.cell).max() > 1e-6:
        return False
    apart = (one.pos - other.pos) @ np.linalg.inv(one.cell)
    return np.abs((apart - np.round(apart)) @ one.cell).max() < 1e-4


@pytest.fixture(scope="module")
def results(toy_campaign):
    return toy_campaign[1]


@pytest.fixture(scope="module")
def config(results):
    return record(results / "manifest.json")["config"]


@pytest.fixture(scope="module")
def decisions(results):
    return {gen: record(path) for gen, path in sorted(numbered(results / "gate", "gen*.json").items())}


class TestStructures:
    def test_names_say_what_is_in_them(self, results, config):
        """Of each structure file: x ions a formula unit, atoms of the framework, a moment of 8 μB less one a hole."""
        units = config["structures"]["formula_units"]
        for path in sorted((results / "structures").glob("*.extxyz")):
            (frame,) = frames(path)
            x, cells = (
                float(path.stem[1:].split("_")[0]),
                np.prod([int(k) for k in path.stem.rsplit("_", 1)[1].split("x")]),
            )
            counts = {symbol: int((frame.species == symbol).sum()) for symbol in ("Na", "V", "P", "O")}
            assert counts == {
                "Na": x * units * cells,
                "V": 2 * units * cells,
                "P": 3 * units * cells,
                "O": 12 * units * cells,
            }
            full, holes = config["structures"]["moments_muB"]["V"], config["structures"]["moments_x"] - x
            expected = (
                2 * units * cells * full + holes * units * cells * config["structures"]["moment_per_ion_muB"] * -1
            )
            assert frame.initial_magmoms.sum() == pytest.approx(expected), path.stem


class TestReferenceMD:
    @pytest.fixture(scope="class")
    def runs(self, results):
        return {
            path.parent.name: (frames(path), record(path.parent / "record.json"))
            for path in results.glob("aimd/*/frames.extxyz")
        }

    def test_each_start_was_run_for_its_steps_from_its_structure(self, results, config, runs):
        asked = config["aimd"]
        assert len(runs) == sum(len(start["seeds"]) for start in asked["starts"])
        for name, (made, about) in runs.items():
            (start,) = frames(results / f"structures/{name}.extxyz")
            assert len(made) == about["n_frames"] == asked["steps"] and about["refusal"] is None
            assert np.abs(made[0].pos - start.pos).max() <= COLUMN_A and (made[0].cell == start.cell).all()
            assert [frame.name for frame in made] == [(name, step) for step in range(len(made))]
            times = [float(frame.info["time_fs"]) for frame in made]
            assert times == pytest.approx(np.arange(len(made)) * asked["timestep_fs"])

    def test_temperatures_are_those_of_the_velocities(self, runs):
        """Σ p²/2m = (3n − 3)/2 k_BT with the total momentum at rest; momenta as ASE writes them, √(eV amu)."""
        for made, _ in runs.values():
            for frame in made:
                weight = np.array([MASSES[SYMBOLS.index(symbol)] for symbol in frame.species])
                assert frame.momenta.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
                kinetic_eV = (frame.momenta**2 / (2 * weight[:, None])).sum()
                kelvin = kinetic_eV / (1.5 * (len(weight) - 1) * BOLTZMANN_EV_K)
                assert float(frame.info["temperature_K"]) == pytest.approx(kelvin, rel=1e-5)

    def test_energies_follow_from_forces(self, runs):
        """ΔE = −Σ ½ (F + F′)·Δr over each step of 2 fs, to the trapezoid rule's error."""
        for made, _ in runs.values():
            for before, after in itertools.pairwise(made):
                work = 0.5 * ((before.forces + after.forces) * (after.pos - before.pos)).sum()
                curved = 0.5 * np.abs(((after.forces - before.forces) * (after.pos - before.pos)).sum(axis=1)).sum()
                assert abs(float(after.info["energy"]) - float(before.info["energy"]) + work) <= 0.1 * curved + 1e-6


class TestDensities:
    def test_every_density_is_of_a_labelled_frame_and_has_its_electrons(self, results, config, decisions):
        labelled = {
            frame.name: frame
            for path in [*results.glob("aimd/*/frames.extxyz"), *results.glob("label/gen*/frames.extxyz")]
            for frame in frames(path)
        }
        index = record(results / "density/dataset.json")
        assert len({item["key"] for item in index}) == len(index)
        kept = set()
        for item in index:
            name, step = item["key"].split("/step")
            kept.add((name, int(step)))
            frame = labelled[name, int(step)]
            assert (item["set"] == "test") == (name in config["train"]["test_configurations"])
            with h5py.File(results.parents[1] / item["store"]) as file:
                stored = file[item["key"]]
                volume = abs(np.linalg.det(stored["cell"][()])) / np.prod(stored["total"].shape)
                total, spin = (stored[part][()].astype(float).sum() * volume for part in ("total", "spin"))
                assert total == pytest.approx(stored["valence"][()].sum(), rel=1e-4)
                assert spin == pytest.approx(stored.attrs["moment_muB"], abs=0.01)
                assert np.abs(stored["positions"][()] - frame.pos).max() <= COLUMN_A
        asked = {"aimd": config["aimd"]["density_every"], "label": config["label"]["density_every"]}
        wanted = {name for name in labelled if name[1] % asked["label" if name[0].startswith("g") else "aimd"] == 0}
        left_out = {
            (item["config_id"], item["step"])
            for path in results.glob("train/gen*/dataset.json")
            for item in record(path)["left_out"]
        }
        assert wanted - left_out <= kept <= wanted


class TestTrainingSets:
    @pytest.fixture(scope="class")
    def datasets(self, results):
        return {gen: frames(path / "dataset.extxyz") for gen, path in numbered(results / "train").items()}

    def sources(self, results, gen):
        """Labelled frames that existed when a generation was trained."""
        paths = sorted(results.glob("aimd/*/frames.extxyz"))
        for earlier in range(gen):
            paths += sorted(results.glob(f"label/gen{earlier}/g*.extxyz"))
        return [frame for path in paths for frame in frames(path)]

    def test_every_label_is_in_or_named_as_left_out(self, results, datasets):
        for gen, inside in datasets.items():
            about = record(results / f"train/gen{gen}/dataset.json")
            left_out = {(item["config_id"], item["step"]) for item in about["left_out"]}
            offered = [frame.name for frame in self.sources(results, gen)]
            missing = set(offered) - {frame.name for frame in inside} - left_out
            assert len(missing) == about["duplicates"], f"generation {gen}: {sorted(missing)}"
            assert {frame.name for frame in inside} <= set(offered) - left_out

    def test_no_frame_is_there_twice(self, datasets):
        for inside in datasets.values():
            assert len({frame.name for frame in inside}) == len(inside)
            places = {
                (tuple(frame.species), np.round(frame.pos, 4).tobytes(), frame.cell.tobytes()) for frame in inside
            }
            assert len(places) == len(inside)

    def test_energies_and_forces_are_those_of_the_label_files(self, results, datasets):
        def checksum(given):
            lines = sorted(f"{frame.name} {frame.info['energy']} {frame.forces.tobytes().hex()}" for frame in given)
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()

        for gen, inside in datasets.items():
            names = {frame.name for frame in inside}
            assert checksum(inside) == checksum(frame for frame in self.sources(results, gen) if frame.name in names), (
                f"generation {gen}"
            )

    def test_sets(self, results, config, datasets):
        held_out = set(config["train"]["test_configurations"])
        assert held_out
        for gen, inside in datasets.items():
            about = record(results / f"train/gen{gen}/dataset.json")
            by_set = {name: [f for f in inside if f.info["set"] == name] for name in ("train", "validation", "test")}
            assert sum(map(len, by_set.values())) == len(inside)
            assert {name: len(found) for name, found in by_set.items()} == {name: about[name] for name in by_set}
            assert by_set["train"] and by_set["validation"]
            assert {frame.info["config_id"] for frame in by_set["test"]} == held_out

    def test_all_labels_are_of_one_method_and_converged(self, results, datasets):
        hashes = {frame.info["settings_hash"] for inside in datasets.values() for frame in inside}
        assert len(hashes) == 1
        assert {frame.info["converged"] for inside in datasets.values() for frame in inside} == {"T"}

    def test_what_no_check_could_judge_is_named(self, results, datasets):
        needed = {"jumps and work balance": 2, "course of forces and path": 6, "energies of other frames": 9}
        for gen in datasets:
            lengths = {}
            for frame in self.sources(results, gen):
                lengths[frame.name[0]] = lengths.get(frame.name[0], 0) + 1
            short = {check: {n for n, length in lengths.items() if length < least} for check, least in needed.items()}
            said = record(results / f"train/gen{gen}/dataset.json")["too_short"]
            assert {check: set(names) for check, names in said.items()} == {k: v for k, v in short.items() if v}

    def test_energies_follow_the_work_of_the_forces(self, results, datasets):
        """The mean of ΔE + ½ (F + F')·Δr along each run as recorded, from the written frames by plain numpy."""
        for gen in datasets:
            runs = {}
            for frame in self.sources(results, gen):
                runs.setdefault(frame.name[0], []).append(frame)
            said = {r["config_id"]: r for r in record(results / f"train/gen{gen}/dataset.json")["work_imbalances"]}
            assert set(said) == {name for name, run in runs.items() if len(run) >= 9}
            for name, recorded in said.items():
                run = sorted(runs[name], key=lambda frame: frame.name[1])
                energies = np.array([float(frame.info["energy"]) for frame in run])
                positions, forces = np.array([frame.pos for frame in run]), np.array([frame.forces for frame in run])
                moved = np.diff(positions, axis=0) @ np.linalg.inv(run[0].cell)
                moved = (moved - np.round(moved)) @ run[0].cell
                work = 0.5 * ((forces[1:] + forces[:-1]) * moved).sum(axis=(1, 2))
                assert recorded["mean_meV"] == pytest.approx(1000 * (np.diff(energies) + work).mean(), abs=0.01)
                assert abs(recorded["mean_meV"]) < 2.0 and recorded["intervals"] == len(run) - 1


class Explored:
    """The files of one explore run."""

    def __init__(self, path):
        self.record = record(path)
        self.structure = path.stem
        trace = rows(path.with_suffix(".csv"))
        self.time_fs, self.spread, self.kelvin = (
            numbers(trace, key) for key in ("time_fs", "spread_eV_A", "temperature_K")
        )
        self.chosen = np.array([row["candidate"] == "True" for row in trace])
        self.candidates = frames(path.parent / f"{path.stem}.candidates.extxyz")


def explored(results, gen):
    return [Explored(path) for path in sorted((results / f"explore/gen{gen}").glob("*.json"))]


class TestExplore:
    @pytest.fixture(scope="class")
    def runs(self, results, decisions):
        return {gen: explored(results, gen) for gen in decisions}

    def test_every_start_of_the_phase_was_run_for_its_time(self, config, decisions, runs):
        for gen, decision in decisions.items():
            (phase,) = [p for p in config["explore"]["phases"] if p["name"] == decision["phase"]]
            assert len(runs[gen]) == sum(len(start["seeds"]) for start in phase["starts"])
            assert all(run.record["structure"] == run.structure for run in runs[gen])
            assert {run.record["target_ps"] for run in runs[gen]} == {phase["length_ps"]}
            contents = sorted(start["x"] for start in phase["starts"] for _ in start["seeds"])
            assert sorted(float(run.structure[1:].split("_")[0]) for run in runs[gen]) == contents

    def test_why_each_run_ended(self, decisions, runs):
        for gen, decision in decisions.items():
            settings = decision["settings"]["explore"]
            runaway = settings["max_temperature_factor"] * settings["temperature_K"]
            for run in runs[gen]:
                before, last = run.spread[:-1], run.spread[-1]
                assert (before <= settings["high_eV_A"] * (1 + TRACE)).all() and (run.kelvin[:-1] < runaway).all()
                reason = run.record["end_reason"]
                if reason == "survived":
                    assert run.record["survived_ps"] == pytest.approx(run.record["target_ps"])
                    assert last <= settings["high_eV_A"] and run.kelvin[-1] < runaway
                    continue
                assert run.record["survived_ps"] * 1000 == pytest.approx(run.time_fs[-1])
                if not np.isfinite(last):
                    assert reason == "not_finite"
                elif run.kelvin[-1] > runaway:
                    assert reason == "temperature_runaway"
                else:
                    assert reason == ("spread_above_high" if last > settings["high_eV_A"] else "close_contact")

    def test_candidates_lie_between_the_thresholds_and_apart_in_time(self, decisions, runs):
        for gen, decision in decisions.items():
            settings = decision["settings"]["explore"]
            low, high, apart = (settings[key] for key in ("low_eV_A", "high_eV_A", "candidate_every_fs"))
            for run in runs[gen]:
                taken = run.time_fs[run.chosen]
                assert (run.spread[run.chosen] >= low * (1 - TRACE)).all() and (run.spread[run.chosen] <= high).all()
                assert (np.diff(taken) >= apart - 1e-6).all()
                for time_fs in run.time_fs[(run.spread > low) & (run.spread < high) & ~run.chosen]:
                    assert (taken <= time_fs).any() and time_fs - taken[taken <= time_fs].max() < apart

    def test_candidate_files_hold_those_frames_and_a_precursor_only_where_a_guard_ended_the_run(self, runs):
        for run in (run for of_gen in runs.values() for run in of_gen):
            precursors = [frame for frame in run.candidates if "ended" in frame.info]
            guarded = run.record["end_reason"] in GUARDS
            assert [frame.info["ended"] for frame in precursors] == [run.record["end_reason"]] * guarded
            times = {float(frame.info["time_fs"]) for frame in run.candidates if "ended" not in frame.info}
            steps_of_precursors = {float(frame.info["time_fs"]) for frame in precursors}
            assert times == set(run.time_fs[run.chosen]) - steps_of_precursors
            assert run.record["n_candidates"] == len(run.candidates)
            spread_at = dict(zip(run.time_fs, run.spread, strict=True))
            for frame in run.candidates:
                assert frame.info["structure"] == run.structure and frame.info["pbc"] == "T T T"
                if float(frame.info["time_fs"]) in spread_at:
                    seen = spread_at[float(frame.info["time_fs"])]
                    assert float(frame.info["spread_eV_A"]) == pytest.approx(seen, rel=TRACE)


class TestSelect:
    @pytest.fixture(scope="class")
    def choices(self, results, decisions):
        """Generation → candidates, those selected, rows of those refused."""
        return {
            gen: (
                [frame for run in explored(results, gen) for frame in run.candidates],
                frames(results / f"select/gen{gen}/selected.extxyz"),
                rows(results / f"select/gen{gen}/refused.csv"),
            )
            for gen in decisions
        }

    def key(self, frame):
        return frame.info["structure"], int(frame.info["step"])

    def test_every_candidate_is_selected_or_refused(self, decisions, choices):
        assert any(selected for _, selected, _ in choices.values())
        for gen, (candidates, selected, refused) in choices.items():
            named = [self.key(frame) for frame in selected]
            named += [(row["structure"], int(float(row["step"]))) for row in refused]
            assert sorted(named) == sorted(map(self.key, candidates))
            assert {row["reason"] for row in refused} <= {*TWIN, *HELD_OUT, "over_budget"}
            distinct = sum(row["reason"] == "over_budget" for row in refused) + len(selected)
            assert len(selected) == min(distinct, decisions[gen]["settings"]["select"]["budget"])
            assert [frame.info["label_id"] for frame in selected] == [f"g{gen}f{k:03d}" for k in range(len(selected))]

    def test_only_twins_are_refused_as_twins(self, results, decisions, choices):
        for gen, (candidates, selected, refused) in choices.items():
            tolerance = 2 * decisions[gen]["settings"]["select"]["duplicate_tolerance_A"]
            shape = {self.key(frame): distances(frame) for frame in candidates}
            kept = [self.key(frame) for frame in selected]
            assert not any(twins(shape[a], shape[b], 1e-6) for a, b in itertools.combinations(kept, 2))
            known = frames(results / f"train/gen{gen}/dataset.extxyz")
            assert not any(same_place(a, b) for a in selected for b in known)
            for row in refused:
                own = (row["structure"], int(float(row["step"])))
                others = [value for key, value in shape.items() if key != own]
                if row["reason"] == "already_labelled":
                    others = [distances(frame) for frame in known]
                if row["reason"] in TWIN:
                    assert any(twins(shape[own], other, tolerance) for other in others), own

    def test_the_frames_are_the_farthest_from_one_another_from_the_most_uncertain_on(self, results, choices):
        """Precursors of guards first; farthest points by plain numpy, in the networks' own descriptors."""
        from ase import Atoms

        from redoxmd.model.ensemble import load_ensemble

        for gen, (candidates, selected, refused) in choices.items():
            twice = {(r["structure"], int(float(r["step"]))) for r in refused if r["reason"] != "over_budget"}
            pool = [frame for frame in candidates if self.key(frame) not in twice]
            if not pool:
                assert not selected
                continue
            ensemble = load_ensemble(results / f"train/gen{gen}/ensemble.pt", "cpu")
            points = np.array([ensemble.descriptor(Atoms(list(f.species), f.pos, cell=f.cell, pbc=True)) for f in pool])
            apart = np.linalg.norm(points[:, None] - points[None], axis=2)
            order = [k for k, frame in enumerate(pool) if "ended" in frame.info][: len(selected)]
            order = order or [int(np.argmax([float(frame.info["spread_eV_A"]) for frame in pool]))]
            while len(order) < len(selected):
                order.append(int(apart[:, order].min(axis=1).argmax()))
            assert [self.key(frame) for frame in selected] == [self.key(pool[k]) for k in order], f"generation {gen}"


class TestOrderings:
    """Which configurations and candidates start in symmetry copies of one ordering: pymatgen on ideal positions."""

    @pytest.fixture(scope="class")
    def ideal(self, results):
        """The structure, in pymatgen's form, of a frame whose ions are put back to their sites."""
        from pymatgen.core import Lattice, Structure

        starts = {path.stem: frames(path)[0] for path in (results / "structures").glob("*.extxyz")}
        found = []
        for name, start in starts.items():
            for place in (start.pos @ np.linalg.inv(start.cell))[start.species == "Na"] if "1x1x1" in name else ():
                if all(np.abs((place - site + 0.5) % 1 - 0.5).max() > 1e-3 for site in found):
                    found.append(place)
        assert len(found) == 8

        orderings = {}

        def made(frame, structure):
            start, repeats = starts[structure], np.array([int(k) for k in structure.rsplit("_", 1)[1].split("x")])
            cells = itertools.product(*map(range, repeats))
            sites = np.concatenate([(np.array(found) + cell) / repeats for cell in cells])
            fraction, before = (one.pos @ np.linalg.inv(one.cell) for one in (frame, start))
            fixed = start.species != "Na"
            assert (frame.species == start.species).all()
            moved = (fraction - before + 0.5) % 1 - 0.5
            away = fraction[~fixed][:, None] - moved[fixed].mean(axis=0) - sites
            apart = np.linalg.norm(((away + 0.5) % 1 - 0.5) @ frame.cell, axis=2)
            taken = linear_sum_assignment(apart**2)[1]
            places = np.concatenate([before[fixed], sites[np.sort(taken)]])
            elements = [*start.species[fixed], *["Na"] * len(taken)]
            return orderings.setdefault((structure, places.tobytes()), Structure(Lattice(start.cell), elements, places))

        return made

    @pytest.fixture(scope="class")
    def first(self, results, ideal):
        """Configuration → ordering of its first frame."""
        found = {}
        for path in [*results.glob("aimd/*/frames.extxyz"), *results.glob("label/gen*/g*.extxyz")]:
            for frame in frames(path)[:1]:
                label = path.with_suffix(".json")
                structure = record(label)["structure"] if label.exists() else path.parent.name
                found[frame.info["config_id"]] = ideal(frame, structure)
        return found

    @pytest.fixture(scope="class")
    def same(self):
        """Whether two of those structures are one crystal; each pair is compared once."""
        from pymatgen.analysis.structure_matcher import StructureMatcher

        matcher = StructureMatcher(scale=False, stol=0.05, ltol=0.01, angle_tol=0.5)
        known = {}

        def compare(one, other):
            pair = tuple(sorted((id(one), id(other))))
            if pair not in known:
                alike = one.composition.reduced_formula == other.composition.reduced_formula
                known[pair] = alike and (one is other or matcher.fit(one, other))
            return known[pair]

        return compare

    def test_no_ordering_is_in_two_sets(self, results, decisions, first, same):
        for gen in decisions:
            sets = {
                frame.info["config_id"]: frame.info["set"]
                for frame in frames(results / f"train/gen{gen}/dataset.extxyz")
            }
            assert set(sets.values()) == {"train", "validation", "test"}
            for one, other in itertools.combinations(sets, 2):
                assert sets[one] == sets[other] or not same(first[one], first[other]), (one, other)

    def test_no_reference_run_starts_in_the_ordering_of_another(self, results, first, same):
        names = sorted(path.parent.name for path in results.glob("aimd/*/frames.extxyz"))
        assert not any(same(first[one], first[other]) for one, other in itertools.combinations(names, 2))

    def test_candidates_in_a_held_out_ordering_are_refused_and_no_others(self, results, decisions, first, ideal, same):
        for gen in decisions:
            held_out = {
                frame.info["config_id"]: frame.info["set"]
                for frame in frames(results / f"train/gen{gen}/dataset.extxyz")
                if frame.info["set"] != "train"
            }
            refused = rows(results / f"select/gen{gen}/refused.csv")
            reasons = {(row["structure"], int(float(row["step"]))): row["reason"] for row in refused}
            for frame in (frame for run in explored(results, gen) for frame in run.candidates):
                own = ideal(frame, frame.info["structure"])
                copies = {held_out[name] for name in held_out if same(own, first[name])}
                expected = f"{copies.pop()}_ordering" if copies else ""
                reason = reasons.get((frame.info["structure"], int(frame.info["step"])), "")
                assert (reason if reason in HELD_OUT else "") == expected, frame.info["structure"]

    def test_a_generation_explores_other_structures_than_those_before_it(self, results, decisions):
        seen = set()
        for gen in decisions:
            own = {run.structure for run in explored(results, gen)}
            assert own and not own & seen
            seen |= own


class TestGate:
    def test_what_each_generation_had_to_be_told(self, results, config, decisions):
        phases = [phase["name"] for phase in config["explore"]["phases"]]
        for gen, decision in decisions.items():
            runs, gate = explored(results, gen), decision["settings"]["gate"]
            survived = all(run.record["end_reason"] == "survived" for run in runs)
            rate = sum(len(run.candidates) for run in runs) / sum(run.record["survived_ps"] for run in runs)
            assert decision["figures"]["candidates_per_ps"] == pytest.approx(rate)
            good = survived and rate <= gate["max_candidates_per_ps"] and gen + 1 >= gate["min_generations"]
            assert bool(decision["reasons"]) == (not good)
            last = decision["phase"] == phases[-1]
            assert decision["status"] == ("go_on" if not good else "converged" if last else "next_phase")
            following = phases[phases.index(decision["phase"]) + (decision["status"] == "next_phase")]
            assert decision["next_phase"] == ("" if decision["status"] == "converged" else following)
            ids = [frame.info["label_id"] for frame in frames(results / f"select/gen{gen}/selected.extxyz")]
            assert decision["label_ids"] == ([] if decision["status"] == "converged" else ids)

    def test_the_loop_ends_where_it_converged_and_nowhere_else(self, results, config, decisions):
        assert list(decisions) == list(range(len(decisions)))
        assert [decision["status"] == "converged" for decision in decisions.values()] == [False] * (
            len(decisions) - 1
        ) + [True]
        assert len(decisions) <= config["gate"]["max_generations"]
        assert decisions[0]["phase"] == config["explore"]["phases"][0]["name"]
        assert all(decisions[gen]["phase"] == decisions[gen - 1]["next_phase"] for gen in decisions if gen)
        for stage in ("train", "explore", "select"):
            assert set(numbered(results / stage)) == set(decisions)
        assert set(numbered(results / "label")) == {gen for gen, decision in decisions.items() if decision["label_ids"]}


class TestLabels:
    def test_records_say_what_the_frames_are(self, results, config, decisions):
        for gen, decision in decisions.items():
            folder = results / f"label/gen{gen}"
            asked = {f.info["label_id"]: f for f in frames(results / f"select/gen{gen}/selected.extxyz")}
            for name in decision["label_ids"]:
                about, made = record(folder / f"{name}.json"), frames(folder / f"{name}.extxyz")
                assert about["n_frames"] == len(made) <= config["label"]["steps"]
                status = "labelled" if about["refusal"] is None else "partial" if made else "refused"
                assert about["status"] == status and (status != "labelled" or len(made) == config["label"]["steps"])
                assert about["structure"] == asked[name].info["structure"]
                assert about["spread_eV_A"] == float(asked[name].info["spread_eV_A"])
                assert [frame.name for frame in made] == [(name, step) for step in range(len(made))]
                if made:
                    assert list(made[0].species) == list(asked[name].species)
                    assert np.abs(made[0].pos - asked[name].pos).max() <= COLUMN_A
                    assert (made[0].cell == asked[name].cell).all()
                    times = [float(frame.info["time_fs"]) for frame in made]
                    assert times == pytest.approx([k * config["label"]["timestep_fs"] for k in range(len(made))])

    def test_the_summary_counts_and_joins_them(self, results, config, decisions):
        for gen, decision in decisions.items():
            if not decision["label_ids"]:
                continue
            folder = results / f"label/gen{gen}"
            abouts = [record(folder / f"{name}.json") for name in decision["label_ids"]]
            summary = record(folder / "summary.json")
            assert summary["requested"] == len(abouts)
            for status in ("labelled", "partial", "refused"):
                assert summary[status] == sum(about["status"] == status for about in abouts)
            assert summary["refused"] <= config["label"]["failure_budget"] * len(abouts)
            parts = b"".join((folder / f"{name}.extxyz").read_bytes() for name in decision["label_ids"])
            assert (folder / "frames.extxyz").read_bytes() == parts


class Trajectory:
    """An H5MD file, and D of it by plain numpy."""

    def __init__(self, path):
        with h5py.File(path) as file:
            self.about = json.loads(file.attrs["redoxmd"])
            atoms = file["particles/atoms"]
            self.numbers = atoms["species"][()]
            self.step, self.time_fs = atoms["position/step"][()], atoms["position/time"][()]
            self.positions = atoms["position/value"][()].astype(float)
            self.cell = atoms["box/edges/value"][0]
            self.kelvin, self.spread = (file[f"observables/{n}/value"][()] for n in ("temperature", "spread"))
        self.name = path.stem

    def ions(self, also_mobile=()):
        """(T, m, 3) mobile ions, the framework's centre of mass held."""
        mobile = self.numbers == 11
        frame = ~mobile & ~np.isin(self.numbers, also_mobile)
        weights = np.array([MASSES[NUMBERS.index(z)] for z in self.numbers[frame]])
        centre = (self.positions[:, frame] * weights[:, None]).sum(axis=1) / weights.sum()
        return self.positions[:, mobile] - (centre - centre[0])[:, None]


def jumps(path, time_fs, distance_A, persistence_fs):
    """(time, start, end) of one ion by the 3 Å rule, frame by frame."""
    need = max(1, int(np.ceil(persistence_fs / (time_fs[1] - time_fs[0]))))
    found, site, frame = [], path[:need].mean(axis=0), 0
    while frame + need <= len(path):
        if all(np.linalg.norm(path[k] - site) > distance_A for k in range(frame, frame + need)):
            new = path[frame : frame + need].mean(axis=0)
            found.append((time_fs[frame], site, new))
            site, frame = new, frame + need
        else:
            frame += 1
    return found


def check_jumps(values, ions, time_fs, settings):
    """The jumps of an analysis, and D from them, against `jumps`; their number."""
    rule = settings["jump_distance_A"], settings["persistence_fs"]
    found = [(time, ion, *ends) for ion in range(ions.shape[1]) for time, *ends in jumps(ions[:, ion], time_fs, *rule)]
    found.sort(key=lambda jump: jump[:2])
    assert values["n_jumps"] == len(found)
    assert values["jump_ion"].tolist() == [ion for _, ion, *_ in found]
    assert values["jump_time_fs"] == pytest.approx([time for time, *_ in found])
    for number, (_, _, start, end) in enumerate(found):
        assert values["jump_start_A"][number] == pytest.approx(start, abs=1e-6)
        assert values["jump_end_A"][number] == pytest.approx(end, abs=1e-6)
    squared = np.array([np.sum((end - start) ** 2) for _, _, start, end in found])
    unit = CM2_PER_S / (6 * ions.shape[1] * (time_fs[-1] - time_fs[0]))
    assert values["D_jumps_cm2_s"] == pytest.approx(squared.sum() * unit, rel=1e-6)
    if found:
        assert values["D_jumps_error_cm2_s"] == pytest.approx(np.sqrt((squared**2).sum()) * unit, rel=1e-6)
    else:
        assert values["D_jumps_limit_cm2_s"] == pytest.approx(3 * rule[0] ** 2 * unit)
    return len(found)


def check_msd(values, ions, time_fs):
    for lag_fs, msd in zip(values["lag_fs"], values["msd_A2"], strict=True):
        lag = round(lag_fs / (time_fs[1] - time_fs[0]))
        moved = ions[lag:] - ions[: len(ions) - lag]
        assert msd == pytest.approx((moved**2).sum(axis=2).mean(), rel=1e-6, abs=1e-8)


@pytest.fixture(scope="module")
def trajectories(results):
    return [Trajectory(path) for path in sorted((results / "production").glob("*.h5"))]


def row_of(table, run):
    """The row of a trajectory."""
    keys = ("x", "temperature_K", "replica")
    (row,) = [row for row in table if all(float(row[key]) == run.about[key] for key in keys)]
    return row


class TestProduction:
    def test_one_trajectory_for_each_content_temperature_and_replica(self, config, trajectories):
        asked = config["production"]
        grid = itertools.product(asked["x"], asked["temperatures_K"], range(asked["replicas"]))
        found = [(t.about["x"], t.about["temperature_K"], t.about["replica"]) for t in trajectories]
        assert sorted(found) == sorted(grid)

    def test_lengths_intervals_and_composition(self, config, trajectories):
        asked = config["production"]
        units = config["structures"]["formula_units"] * np.prod(asked["supercell"])
        for run in trajectories:
            assert run.about["end_reason"] == "completed" and (run.spread <= asked["stop_above_eV_A"]).all()
            count = round(asked["length_ps"] * 1000 / asked["save_every_fs"]) + 1
            assert len(run.step) == len(run.positions) == count
            assert run.time_fs == pytest.approx(np.arange(count) * asked["save_every_fs"])
            assert run.time_fs == pytest.approx(run.step * asked["timestep_fs"])
            assert (run.numbers == 11).sum() == run.about["x"] * units
            assert {int(z): int((run.numbers == z).sum() / units) for z in (23, 15, 8)} == {23: 2, 15: 3, 8: 12}

    def test_no_position_is_wrapped(self, trajectories):
        for run in trajectories:
            assert np.abs(np.diff(run.positions, axis=0)).max() < 2.0

    def test_they_are_of_the_ensemble_that_converged(self, results, decisions, trajectories):
        converged = results / f"train/gen{max(decisions)}/ensemble.pt"
        checksum = hashlib.sha256(converged.read_bytes()).hexdigest()
        assert all(checksum.startswith(run.about["model"]) for run in trajectories)

    def test_temperature_and_spread_of_each_are_in_the_table(self, results, trajectories):
        """As measured, not as asked for: a start far from equilibrium is seen there."""
        table = rows(results / "diffusion/trajectories.csv")
        for run in trajectories:
            row = row_of(table, run)
            assert float(row["mean_temperature_K"]) == pytest.approx(run.kelvin.mean())
            assert float(row["max_spread_eV_A"]) == pytest.approx(run.spread.max())
            assert row["end_reason"] == run.about["end_reason"]


class TestDiffusion:
    @pytest.fixture(scope="class")
    def analyses(self, results, trajectories):
        found = {}
        for run in trajectories:
            with h5py.File(results / f"diffusion/{run.name}.nc") as file:
                values = {key: file[key][()] for key in file if isinstance(file[key], h5py.Dataset)}
                attributes = {key: file.attrs[key] for key in file.attrs}
            found[run.name] = values, attributes
        return found

    def also_mobile(self, attributes):
        named = attributes.get("diffusing_framework", "")
        symbols = (named.decode() if isinstance(named, bytes) else str(named)).split()
        return [NUMBERS[SYMBOLS.index(symbol)] for symbol in symbols]

    def test_jumps_by_the_rule_of_the_paper(self, config, trajectories, analyses):
        for run in trajectories:
            values, attributes = analyses[run.name]
            check_jumps(values, run.ions(self.also_mobile(attributes)), run.time_fs, config["diffusion"])

    def test_mean_squared_displacement_by_the_double_sum(self, trajectories, analyses):
        for run in trajectories:
            values, attributes = analyses[run.name]
            check_msd(values, run.ions(self.also_mobile(attributes)), run.time_fs)

    def test_coefficients_are_means_over_replicas(self, results, trajectories, analyses):
        table = rows(results / "diffusion/diffusivities.csv")
        grid = {(run.about["x"], run.about["temperature_K"]) for run in trajectories}
        assert sorted((float(row["x"]), float(row["temperature_K"])) for row in table) == sorted(grid)
        for row in table:
            names = [
                run.name
                for run in trajectories
                if (run.about["x"], run.about["temperature_K"]) == (float(row["x"]), float(row["temperature_K"]))
            ]
            assert int(float(row["n_jumps"])) == sum(int(analyses[name][0]["n_jumps"]) for name in names)
            assert float(row["time_ps"]) == pytest.approx(
                sum(float(analyses[name][0]["duration_ps"]) for name in names)
            )
            # Replicas of one length, so any weight by time is the same for each.
            mean = np.mean([analyses[name][0]["D_jumps_cm2_s"] for name in names])
            assert float(row["D_jumps_cm2_s"]) == pytest.approx(mean, rel=1e-9, abs=0)

    def test_d_from_msd_agrees_with_a_plain_line_or_is_a_limit(self, config, trajectories, results):
        """The slope of the double sum by least squares: below the limit, or within a factor of two of the interval."""
        first, last = config["diffusion"]["msd_fit"]
        table = rows(results / "diffusion/trajectories.csv")
        for run in trajectories:
            row = row_of(table, run)
            ions = run.ions()
            lags = np.arange(1, len(ions))
            msd = np.array([((ions[lag:] - ions[:-lag]) ** 2).sum(axis=2).mean() for lag in lags])
            time_fs = lags * (run.time_fs[1] - run.time_fs[0])
            inside = (time_fs >= first * time_fs[-1]) & (time_fs <= last * time_fs[-1])
            slope = np.polyfit(time_fs[inside], msd[inside], 1)[0] / 6 * CM2_PER_S
            limit = float(row["D_msd_limit_cm2_s"] or "nan")
            if np.isfinite(limit):
                assert slope <= limit and row["msd_regime"]
            else:
                assert float(row["D_msd_low_cm2_s"]) / 2 <= slope <= 2 * float(row["D_msd_high_cm2_s"])

    def test_arrhenius_lines_go_through_the_points_or_are_refused_with_a_reason(self, config, results):
        table, fits = (rows(results / f"diffusion/{name}.csv") for name in ("diffusivities", "arrhenius"))
        assert sorted({float(row["x"]) for row in table}) == sorted(float(fit["x"]) for fit in fits)
        for fit, (prefix, name) in itertools.product(fits, (("", "jumps"), ("sites_", "sites"), ("msd_", "msd"))):
            points = [row for row in table if float(row["x"]) == float(fit["x"])]
            if fit[f"{prefix}fitted"] != "True":
                assert fit[f"{prefix}reason"] and not fit[f"{prefix}Ea_eV"]
                continue
            assert int(fit[f"{prefix}n_temperatures"]) >= config["diffusion"]["min_temperatures_to_fit"]
            kelvin, d, error = (
                numbers(points, k) for k in ("temperature_K", f"D_{name}_cm2_s", f"D_{name}_error_cm2_s")
            )
            line = float(fit[f"{prefix}log10_D0"]) * np.log(10) - float(fit[f"{prefix}Ea_eV"]) / (
                BOLTZMANN_EV_K * kelvin
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.abs(np.log(d) - line) / (error / d)
            assert np.median(off[np.isfinite(off)]) < 4


class TestWhereIonsMove:
    """The campaign is too short for jumps: the same arithmetic on a file in which ions hop on a lattice."""

    LATTICE_A, RATE_PER_FS, FRAMES, INTERVAL_FS, IONS = 4.0, 5e-5, 3000, 10.0, 27

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory):
        """A trajectory and its analysis, written and read as the rules do."""
        from redoxmd.config.sections import Diffusion
        from redoxmd.diffusion.analysis import analyse_trajectory
        from redoxmd.files.hdf5 import write_dataset
        from redoxmd.files.trajectory import Trajectory as Written
        from redoxmd.files.trajectory import read_trajectory, write_segment

        rng = np.random.default_rng(3)
        corner = np.array(list(itertools.product(range(3), repeat=3)), dtype=float) * self.LATTICE_A
        hops = rng.random((self.FRAMES, self.IONS)) < self.RATE_PER_FS * self.INTERVAL_FS
        ways = np.eye(3)[rng.integers(3, size=hops.shape)] * rng.choice([-1, 1], hops.shape)[..., None]
        sites = corner + np.cumsum(hops[..., None] * ways * self.LATTICE_A, axis=0)
        oxygen = np.broadcast_to(corner + self.LATTICE_A / 2, sites.shape)
        positions = np.concatenate([sites, oxygen], axis=1)
        positions += 0.15 * rng.standard_normal(positions.shape)
        drift = np.linspace(0, 5.0, self.FRAMES)[:, None, None] * np.array([1.0, 0.5, -0.2])
        steps, still = np.arange(self.FRAMES), np.zeros(self.FRAMES)
        about = {
            "x": 3.0,
            "temperature_K": 900.0,
            "replica": 0,
            "mobile_ion": "Na",
            "structure": "x3.000_random0_1x1x1",
        }
        path = tmp_path_factory.mktemp("walk") / "walk.h5"
        numbers_ = np.array([11] * self.IONS + [8] * self.IONS)
        cell = 3 * self.LATTICE_A * np.eye(3)
        times = steps * self.INTERVAL_FS
        write_segment(
            path, Written(numbers_, positions + drift, cell, steps, times, still + 900.0, still, still, about)
        )
        write_dataset(path.with_suffix(".nc"), analyse_trajectory(read_trajectory(path), Diffusion(), 1))
        with h5py.File(path.with_suffix(".nc")) as file:
            return Trajectory(path), {key: file[key][()] for key in file}, Diffusion().model_dump()

    def test_jumps_and_d(self, files):
        run, values, settings = files
        count = check_jumps(values, run.ions(), run.time_fs, settings)
        expected = self.RATE_PER_FS * self.IONS * run.time_fs[-1]
        assert abs(count - expected) < 4 * np.sqrt(expected)
        d = self.LATTICE_A**2 * self.RATE_PER_FS / 6 * CM2_PER_S
        assert abs(values["D_jumps_cm2_s"] - d) < 4 * values["D_jumps_error_cm2_s"]

    def test_msd(self, files):
        run, values, _ = files
        check_msd(values, run.ions(), run.time_fs)
        d = self.LATTICE_A**2 * self.RATE_PER_FS / 6 * CM2_PER_S
        assert abs(values["D_msd_cm2_s"] - d) < 4 * values["D_msd_error_cm2_s"]


class TestCharges:
    @pytest.fixture(scope="class")
    def tables(self, results, trajectories):
        found = {}
        for run in trajectories:
            with h5py.File(results / f"charges/{run.name}.nc") as file:
                found[run.name] = {
                    key: file[key][()] for key in ("charge_e", "moment_muB", "step", "number", "positions_A")
                }
        return found

    def test_frames_are_those_of_the_trajectory(self, trajectories, tables):
        for run in trajectories:
            table = tables[run.name]
            places = np.searchsorted(run.step, table["step"])
            assert (run.step[places] == table["step"]).all() and (table["number"] == run.numbers).all()
            assert table["positions_A"] == pytest.approx(run.positions[places], abs=1e-6)

    def test_reference_densities_are_neutral_and_have_their_moment(self, results):
        """Atoms of a cell share its electrons: charges add up to none, moments to a whole number."""
        table, complete = rows(results / "charges/reference.csv"), 0
        for key in {row["key"] for row in table}:
            own = [row for row in table if row["key"] == key]
            for side in ("reference", "predicted"):
                # An atom without a basin has no charge, and the cell then no sum.
                charges = numbers(own, f"{side}_charge_e")
                complete += np.isfinite(charges).all()
                assert np.isnan(charges.sum()) or charges.sum() == pytest.approx(0.0, abs=0.02), (key, side)
            # Nuclei of the reference are repaired: on the toy's coarse grid that costs up to 1.5 % of the moment.
            moment = numbers(own, "reference_moment_muB").sum()
            assert np.isnan(moment) or moment == pytest.approx(round(moment), rel=0.02), key
        assert complete > len(table) // 40

    def test_states_are_of_those_charges(self, config, trajectories, tables, results):
        states = rows(results / "charges/states.csv")
        for run in trajectories:
            own = [
                row
                for row in states
                if (float(row["x"]), float(row["temperature_K"])) == (run.about["x"], run.about["temperature_K"])
            ]
            table = tables[run.name]
            vanadium = np.flatnonzero(run.numbers == 23)
            assert len(own) == len(table["step"]) * len(vanadium)
            assert {int(row["atom"]) for row in own} == set(vanadium.tolist())
            assert numbers(own, "charge_e") == pytest.approx(table["charge_e"][:, vanadium].ravel(), nan_ok=True)
            assert numbers(own, "moment_muB") == pytest.approx(table["moment_muB"][:, vanadium].ravel(), nan_ok=True)
            known = numbers(own, "state")
            assert set(known[np.isfinite(known)]) <= set(config["charges"]["states"])

    def test_the_count_that_neutrality_asks_for(self, config, results):
        """Each Na taken out of x = 3 leaves one V4+."""
        structures, cells = config["structures"], np.prod(config["production"]["supercell"])
        states = rows(results / "charges/states.csv")
        higher = max(config["charges"]["states"])
        for row in rows(results / "charges/redox.csv"):
            expected = (structures["moments_x"] - float(row["x"])) * structures["formula_units"] * cells
            assert float(row["n_high_expected"]) == pytest.approx(expected)
            own = [s for s in states if (s["x"], s["temperature_K"]) == (row["x"], row["temperature_K"])]
            count = sum(float(s["state"] or "nan") == higher for s in own)
            assert float(row["n_high_mean"]) * float(row["n_frames"]) == pytest.approx(count)


# Figure → table it draws, row by row.
DRAWN = {
    "fig6_concerted": "diffusion/concerted.csv",
    "fig7_diffusivity": "diffusion/diffusivities.csv",
    "fig9_jumps_vs_msd": "diffusion/diffusivities.csv",
    "van_hove": "diffusion/van_hove.csv",
    "table2_activation": "diffusion/arrhenius.csv",
    "redox_table": "charges/redox.csv",
}


class TestFigures:
    def same(self, plotted, table):
        for drawn, row in zip(plotted, table, strict=True):
            for key in row.keys() & drawn.keys():
                try:
                    value = float(row[key])
                except ValueError:
                    assert drawn[key] == row[key], key
                else:
                    assert float(drawn[key]) == pytest.approx(value, rel=PLOTTED, abs=0, nan_ok=True), key

    @pytest.mark.parametrize("figure", DRAWN)
    def test_numbers_beside_a_figure_are_those_of_its_table(self, results, figure):
        plotted, table = rows(results / f"figures/{figure}.csv"), rows(results / DRAWN[figure])
        assert table and set(table[0]) <= set(plotted[0])
        self.same(plotted, table)

    def test_arrhenius_points_and_lines(self, results):
        fits = {float(row["x"]): row for row in rows(results / "diffusion/arrhenius.csv")}
        table = rows(results / "diffusion/diffusivities.csv")
        plotted = rows(results / "figures/fig8_arrhenius.csv")
        self.same(plotted, table)
        self.same(plotted, [fits[float(row["x"])] for row in table])

    def test_occupancies(self, results):
        plotted = rows(results / "figures/site_occupancy.csv")
        for panel, name in (("a", "occupancy"), ("b", "sites")):
            self.same([row for row in plotted if row["panel"] == panel], rows(results / f"diffusion/{name}.csv"))

    def test_the_timeline_is_that_of_the_traces(self, results, decisions):
        plotted = rows(results / "figures/gate_timeline.csv")
        seen = 0
        for gen in decisions:
            for run in explored(results, gen):
                own = [r for r in plotted if (int(r["generation"]), r["structure"]) == (gen, run.structure)]
                assert numbers(own, "time_fs") == pytest.approx(run.time_fs)
                assert numbers(own, "spread_eV_A") == pytest.approx(run.spread)
                seen += len(own)
        assert seen == len(plotted)

    def test_the_summary_repeats_the_tables(self, results, decisions):
        summary = record(results / "summary.json")
        table = rows(results / "diffusion/diffusivities.csv")
        assert [row["D_jumps_cm2_s"] for row in summary["diffusivities"]] == pytest.approx(
            numbers(table, "D_jumps_cm2_s")
        )
        assert [item["labels"] for item in summary["generations"]] == [
            len(decision["label_ids"]) for decision in decisions.values()
        ]
