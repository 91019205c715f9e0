"""vasprun.xml and the moments of OUTCAR against numbers read off real files, pymatgen and ASE; cut, joined, damaged."""

import bz2
import gzip
import lzma
import re
import tracemalloc
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.units import GPa
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp.outputs import Outcar, Vasprun

from redoxmd.cli import main
from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.level import differences, level_of
from redoxmd.engines.vasp.outcar import read_spins
from redoxmd.engines.vasp.vasprun import read_vasprun
from redoxmd.errors import LabelRefusal, LabelRefused

DATA = Path(__file__).parents[2] / "data/vasp"
RUNS = ("converged", "elec-unconverged", "spin-relax", "unfinished")
WHOLE = RUNS[:3]
# What OUTCAR prints, from which the numbers below were read: positions, cell, forces, stress in kB.
POSITION_DIGIT_A, CELL_DIGIT_A, FORCE_DIGIT_eV_A, STRESS_DIGIT_kB = 1e-5, 1e-9, 1e-6, 1e-5
CUT_EVERY_BYTES = 2000


def content(run, name):
    return lzma.decompress((DATA / run / f"{name}.xz").read_bytes())


@pytest.fixture
def put(tmp_path):
    def write(data, name):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def frames_of(path):
    """Frames before the end or a refusal, and the reason of that."""
    frames = []
    try:
        for frame in read_vasprun(path).frames:
            frames.append(frame)
    except LabelRefused as refused:
        return frames, refused.reason
    return frames, None


def read(run):
    return list(read_vasprun(DATA / run / "vasprun.xml.xz").frames)


def spins_of(data, put):
    """Moments of the steps of an OUTCAR, as lists."""
    return [None if step.moments_muB is None else step.moments_muB.tolist() for step in read_spins(put(data, "OUTCAR"))]


def same(a, b):
    """Every number of two frames alike, to the last bit."""
    pairs = [
        (a.atoms.numbers, b.atoms.numbers),
        (a.atoms.positions, b.atoms.positions),
        (a.atoms.cell.array, b.atoms.cell.array),
        (a.forces_eV_A, b.forces_eV_A),
        (a.stress_eV_A3, b.stress_eV_A3),
        (a.moments_muB, b.moments_muB),
        ([a.energy_eV, a.step, a.scf_steps, a.converged], [b.energy_eV, b.step, b.scf_steps, b.converged]),
    ]
    return all(np.array_equal(x, y) for x, y in pairs)


class TestNumbersReadByEye:
    def test_converged(self):
        (frame,) = read("converged")
        # Of the electronic step: the ionic step of 5.4.4 has -0.00106059 as its e_0_energy.
        assert frame.energy_eV == -6.50161629
        assert (frame.scf_steps, frame.converged, frame.step) == (12, True, 0)
        np.testing.assert_allclose(frame.forces_eV_A[0], [-6.096355, 11.337138, -7.021623], atol=FORCE_DIGIT_eV_A)
        np.testing.assert_allclose(frame.atoms.positions[0], [4.10155, 4.12889, 4.23826], atol=POSITION_DIGIT_A)
        kbar = [
            [13.37991, -198.81087, 161.62424],
            [-198.81087, 544.49046, -417.05080],
            [161.62424, -417.05080, 255.28119],
        ]
        np.testing.assert_allclose(frame.stress_eV_A3 / (-0.1 * GPa), kbar, atol=STRESS_DIGIT_kB)
        assert frame.atoms.get_chemical_symbols() == ["Si", "Si"]
        assert frame.atoms.pbc.all()

    def test_nelm_reached_is_unconverged_whatever_outcar_says(self):
        assert b"aborting loop because EDIFF is reached" in content("elec-unconverged", "OUTCAR")
        (frame,) = read("elec-unconverged")
        assert frame.energy_eV == -6.50149309
        assert (frame.scf_steps, frame.converged) == (8, False)

    def test_every_step_of_a_relaxation(self):
        frames = read("spin-relax")
        assert [frame.energy_eV for frame in frames] == [
            -1.38438257, -1.55967122, -1.86755330, -1.96233012, -1.97252333,
        ]  # fmt: skip
        assert [frame.scf_steps for frame in frames] == [15, 11, 14, 15, 14]
        assert [frame.step for frame in frames] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(frames[4].atoms.cell[0], [2.36837721, 2.36837721, 0.0], atol=CELL_DIGIT_A * 10)

    def test_fourth_step_of_nelm_steps_converged_by_less_than_vasprun_can_say(self):
        # -0.8828920E-09 in OUTCAR, EDIFF = 1e-9, which vasprun.xml prints as 0.00000000.
        assert [frame.converged for frame in read("spin-relax")] == [False, True, True, False, True]

    def test_moments(self):
        steps = list(read_spins(DATA / "spin-relax/OUTCAR.xz"))
        assert [step.moments_muB.tolist() for step in steps] == [[0.781], [0.769], [0.700], [0.660], [0.646]]
        # NUPDOWN = 2 holds the total; the sphere of the one atom holds a third of it.
        assert [step.total_moment_muB for step in steps] == pytest.approx([2.0] * 5, abs=1e-6)
        (step,) = read_spins(DATA / "converged/OUTCAR.xz")
        assert (step.moments_muB, step.total_moment_muB) == (None, None)
        assert [step.energy_eV for step in read_spins(DATA / "unfinished/OUTCAR.xz")] == [None]

    def test_header(self):
        found = read_vasprun(DATA / "converged/vasprun.xml.xz")
        assert found.settings["NELECT"] == 8
        assert (found.settings["NELM"], found.settings["EDIFF"], found.settings["SYSTEM"]) == (
            20,
            1e-6,
            "unknown system",
        )
        assert found.level == Level(
            code="vasp",
            functional="PBE",
            cutoff_eV=300.0,
            spin=False,
            potentials={"Si": "PAW_PBE Si 05Jan2001"},
            # 4 × 2.734364 √2
            kpoint_reach_A=pytest.approx(15.467899, abs=1e-6),
            details=found.level.details,
            complete=True,
        )
        expected = {"ISMEAR": 0, "SIGMA": 0.05, "PREC": "accurate", "LASPH": True, "LREAL": "auto", "NUPDOWN": -1}
        assert expected.items() <= found.level.details.items()


class TestOracles:
    @pytest.mark.filterwarnings("ignore:.*unconverged VASP run")
    @pytest.mark.parametrize("run", WHOLE)
    def test_vasprun_as_pymatgen_reads_it(self, run, put):
        path = put(content(run, "vasprun.xml"), "vasprun.xml")
        oracle = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        frames = list(read_vasprun(path).frames)
        assert len(frames) == len(oracle.ionic_steps)
        for frame, step in zip(frames, oracle.ionic_steps, strict=True):
            np.testing.assert_array_equal(frame.forces_eV_A, step["forces"])
            np.testing.assert_allclose(frame.atoms.positions, step["structure"].cart_coords, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(frame.atoms.cell.array, step["structure"].lattice.matrix)
            assert frame.scf_steps == len(step["electronic_steps"])
        assert frames[-1].energy_eV == pytest.approx(float(oracle.final_energy), abs=1e-8)
        assert frames[-1].converged == oracle.converged_electronic

    @pytest.mark.parametrize("run", WHOLE)
    def test_as_ase_reads_it(self, run, put):
        path = put(content(run, "vasprun.xml"), "vasprun.xml")
        oracle = ase.io.read(path, ":", format="vasp-xml")
        frames = list(read_vasprun(path).frames)
        assert len(frames) == len(oracle)
        for frame, atoms in zip(frames, oracle, strict=True):
            # ASE gives the energy with the entropy's share taken out to zero smearing too.
            assert frame.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
            np.testing.assert_array_equal(frame.forces_eV_A, atoms.get_forces(apply_constraint=False))
            np.testing.assert_allclose(frame.atoms.positions, atoms.positions, rtol=0, atol=1e-12)
            # ASE takes one triangle, VASP's differ in the sixth decimal of a kB.
            np.testing.assert_allclose(frame.stress_eV_A3, atoms.get_stress(voigt=False), rtol=0, atol=1e-8)

    def test_moments_as_pymatgen_reads_them(self, put):
        oracle = Outcar(put(content("spin-relax", "OUTCAR"), "OUTCAR"))
        *_, last = read_spins(DATA / "spin-relax/OUTCAR.xz")
        assert last.moments_muB.tolist() == [ion["tot"] for ion in oracle.magnetization]
        assert last.total_moment_muB == oracle.total_mag

    @pytest.mark.parametrize("run", WHOLE)
    def test_both_files_tell_the_same(self, run):
        frames, steps = read(run), list(read_spins(DATA / run / "OUTCAR.xz"))
        assert [frame.energy_eV for frame in frames] == [step.energy_eV for step in steps]
        for frame, step in zip(frames, steps, strict=True):
            np.testing.assert_allclose(frame.atoms.positions, step.positions_A, rtol=0, atol=0.51 * POSITION_DIGIT_A)


class TestOccupations:
    """A real OUTCAR with the blocks of LDAUPRINT, as VASP lays them out, in every electronic step."""

    SPINS = ("spin component  1", "spin component  2")

    def outcar(self, row="".join, end=" occupancies and eigenvectors\n\no =  0.1 v =  1.0\n"):
        """The file, and the matrices (spin, m, m) of each electronic step in it, to four decimals."""
        rng, blocks = np.random.default_rng(0), []
        start, *steps = content("spin-relax", "OUTCAR").decode("latin-1").split(" eigenvalue-minimisations")
        for number, step in enumerate(steps):
            matrices = rng.normal(0, 0.4, (2, 5, 5)).round(4)
            matrices = np.triu(matrices) + np.triu(matrices, 1).swapaxes(1, 2)
            text = "atom =    1  type =  1  l = 2\n\n onsite density matrix\n\n"
            for title, matrix in zip(self.SPINS, matrices, strict=True):
                rows = (row(f"{x:8.4f}" for x in values) for values in matrix)
                text += title + "\n\n" + "".join(f"{line}\n" for line in rows) + "\n"
            blocks.append(matrices)
            steps[number] = f"\n{text}{end}\n eigenvalue-minimisations{step}"
        return (start + "".join(steps)).encode("latin-1"), blocks

    def test_each_ionic_step_has_those_of_its_last_electronic_step(self, put):
        data, blocks = self.outcar()
        path = put(data, "OUTCAR")
        steps = list(read_spins(path))
        # As many electronic steps as the ionic steps have.
        last = np.cumsum([15, 11, 14, 15, 14]) - 1
        by_pymatgen = Outcar(path).data["onsite_density_matrices"]
        assert len(by_pymatgen) == len(blocks) == 69
        for step, number in zip(steps, last, strict=True):
            (matrices,) = step.occupations.values()
            assert matrices.tolist() == blocks[number].tolist()
            assert matrices.tolist() == [by_pymatgen[number][spin] for spin in (Spin.up, Spin.down)]
        assert [step.moments_muB.tolist() for step in steps] == [[0.781], [0.769], [0.700], [0.660], [0.646]]

    def test_numbers_that_touch(self, put):
        data, blocks = self.outcar(lambda words: "".join(words).replace(" -", "-").lstrip())
        assert re.search(rb"\d-0\.", data)
        *_, step = read_spins(put(data, "OUTCAR"))
        assert step.occupations[0].tolist() == blocks[-1].tolist()

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (rb"( occupancies and eigenvectors)", rb"spin component  3\n" + b" 0.0000" * 5 + rb"\n\1"),
            (rb"spin component  2\n", rb"another heading\n"),
            (rb"(onsite density matrix\n\nspin component  1\n\n).{8}", rb"\1********"),
        ],
        ids=["noncollinear", "unknown", "stars"],
    )
    def test_a_block_of_another_form_gives_none_and_the_moments_stay(self, old, new, put):
        data, _ = self.outcar()
        changed = re.sub(old, new, data)
        assert changed != data
        steps = list(read_spins(put(changed, "OUTCAR")))
        assert [step.occupations for step in steps] == [{}] * 5
        assert [step.moments_muB.tolist() for step in steps] == [[0.781], [0.769], [0.700], [0.660], [0.646]]

    def test_an_import_keeps_them(self, put, tmp_path):
        data, blocks = self.outcar()
        put(data, "OUTCAR")
        put(content("spin-relax", "vasprun.xml"), "vasprun.xml")
        assert main(["import", str(tmp_path / "vasprun.xml"), "--into", str(tmp_path / "data")]) == 0
        *_, last = ase.io.read(tmp_path / "data/frames.extxyz", ":")
        up, down = (matrix[np.triu_indices(5)].tolist() for matrix in blocks[-1])
        assert (last.info["step"], last.arrays["orbital_occupations"].tolist()) == (4, [up + down])


class TestCutFiles:
    @pytest.mark.parametrize("run", RUNS)
    def test_a_cut_file_gives_frames_of_the_whole_or_none(self, run, put):
        data = content(run, "vasprun.xml")
        whole, _ = frames_of(put(data, "vasprun.xml"))
        given = set()
        for size in (*range(0, len(data) - 1, CUT_EVERY_BYTES), len(data) - 3):
            frames, reason = frames_of(put(data[:size], "vasprun.xml"))
            assert reason == ("unfinished" if size else "did_not_start"), size
            assert all(same(a, b) for a, b in zip(frames, whole, strict=False)), size
            assert len(frames) <= len(whole), size
            given.add(len(frames))
        assert given == set(range(len(whole) + 1)) or run != "spin-relax"

    def test_a_cut_outcar_gives_moments_of_the_whole_or_none(self, put):
        data = content("spin-relax", "OUTCAR")
        whole = list(read_spins(put(data, "OUTCAR")))
        table = data.rindex(b"magnetization (x)")
        for size in (*range(CUT_EVERY_BYTES, len(data), 9 * CUT_EVERY_BYTES), *range(table, table + 200, 11)):
            steps = list(read_spins(put(data[:size], "OUTCAR")))
            assert len(steps) <= len(whole)
            for step, complete in zip(steps, whole, strict=False):
                assert step.energy_eV in (None, complete.energy_eV)
                assert step.moments_muB is None or step.moments_muB.tolist() == complete.moments_muB.tolist()
                assert step.energy_eV is None or step.total_moment_muB == complete.total_moment_muB

    def test_cut_near_the_end_of_a_step(self, put):
        data = content("spin-relax", "vasprun.xml")
        end = data.index(b"</calculation>")
        whole, _ = frames_of(put(data, "vasprun.xml"))
        # Every third byte: three cuts in each shortest number.
        for size in range(end - 200, end + 100, 3):
            frames, reason = frames_of(put(data[:size], "vasprun.xml"))
            assert reason == "unfinished"
            assert len(frames) <= 1 and all(same(a, b) for a, b in zip(frames, whole, strict=False))

    @pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
    def test_compressed(self, suffix, put):
        compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
        data = compress(content("spin-relax", "vasprun.xml"))
        whole = read("spin-relax")
        frames, reason = frames_of(put(data, f"vasprun.xml{suffix}"))
        assert reason is None and all(same(a, b) for a, b in zip(frames, whole, strict=True))
        for size in range(0, len(data) - 1, len(data) // 12):
            frames, reason = frames_of(put(data[:size], f"vasprun.xml{suffix}"))
            assert reason == ("unfinished" if size else "did_not_start")
            assert all(same(a, b) for a, b in zip(frames, whole, strict=False))
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 0xFF
        frames, reason = frames_of(put(bytes(damaged), f"vasprun.xml{suffix}"))
        assert reason in {"corrupted", "unfinished"}

    @pytest.mark.parametrize(
        ("name", "open_file"), [("vasprun.xml", read_vasprun), ("OUTCAR", lambda path: next(read_spins(path)))]
    )
    def test_no_file(self, name, open_file, tmp_path):
        with pytest.raises(LabelRefused, match="did_not_start") as refused:
            open_file(tmp_path / name)
        assert str(tmp_path / name) in str(refused.value)


def long_run(name, steps):
    """The second ionic step of a run, again and again."""
    data = content("spin-relax", name)
    if name == "vasprun.xml":
        start, end = data.index(b" <calculation>"), data.index(b"</calculation>") + len(b"</calculation>\n")
        return data[:start] + steps * data[start:end] + data[data.index(b' <structure name="finalpos"') :]
    start, end = (re.search(rb"-+ Iteration +%d\( +1\)" % step, data).start() for step in (2, 3))
    blocks = (re.sub(rb"Iteration +2\(", b"Iteration%7d(" % step, data[start:end]) for step in range(2, steps + 1))
    return data[:start] + b"".join(blocks) + data[data.index(b" General timing") :]


@pytest.mark.parametrize(
    ("name", "frames"), [("vasprun.xml", lambda path: read_vasprun(path).frames), ("OUTCAR", read_spins)]
)
def test_memory_does_not_grow_with_the_run(name, frames, put):
    peaks = []
    for steps in (30, 120):
        path = put(long_run(name, steps), name)
        tracemalloc.start()
        assert sum(1 for _ in frames(path)) == steps
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


class TestDamagedFiles:
    def test_two_runs_in_a_file(self, put):
        data = content("spin-relax", "vasprun.xml")
        frames, reason = frames_of(put(data + data, "vasprun.xml"))
        assert reason == "corrupted"
        assert len(frames) == 5

    def test_a_run_behind_a_cut_one(self, put):
        data = content("spin-relax", "vasprun.xml")
        frames, reason = frames_of(put(data[: len(data) // 3] + b"\n" + data, "vasprun.xml"))
        assert reason == "corrupted"
        assert all(same(a, b) for a, b in zip(frames, read("spin-relax"), strict=False))

    @pytest.mark.parametrize(
        "number",
        [
            b"     -6.09635501",
            b"      0.78000000       0.77000000       0.73000000 </v>\n    <v>       0.60000000",
        ],
    )
    def test_a_number_too_large_for_its_field(self, number, put):
        # The last such number is in the ionic step.
        before, _, after = content("converged", "vasprun.xml").rpartition(number)
        path = put(before + b" " + b"*" * (len(number) - 1) + after, "vasprun.xml")
        with pytest.raises(LabelRefused, match=r"corrupted: .*step 0") as refused:
            list(read_vasprun(path).frames)
        assert str(path) in str(refused.value)

    def test_stars_in_an_outcar(self, put):
        data = content("spin-relax", "OUTCAR").replace(b"0.700\n", b"*****\n")
        with pytest.raises(LabelRefused, match=r"corrupted: .*step 2 .*too large for its field"):
            list(read_spins(put(data, "OUTCAR")))

    def test_not_a_number_is_left_to_the_verdict(self, put):
        number = b"     -6.09635501"
        before, _, after = content("converged", "vasprun.xml").rpartition(number)
        (frame,) = read_vasprun(put(before + b"NaN".rjust(len(number)) + after, "vasprun.xml")).frames
        assert np.isnan(frame.forces_eV_A[0, 0]) and np.isfinite(frame.forces_eV_A[1]).all()

    def test_numbers_that_touch(self, put):
        # F13.5 has no blank left before -12345.67890.
        data = content("converged", "OUTCAR").replace(b"      4.12889      4.23826", b"-123456.12889-100000.23826", 1)
        (step,) = read_spins(put(data, "OUTCAR"))
        assert step.positions_A[0].tolist() == [4.10155, -123456.12889, -100000.23826]

    def test_broken_xml_in_the_middle(self, put):
        data = content("spin-relax", "vasprun.xml")
        second = data.index(b"</calculation>") + 2000
        frames, reason = frames_of(put(data[:second] + b"<&" + data[second:], "vasprun.xml"))
        assert (len(frames), reason) == (1, "corrupted")

    def test_xml_of_something_else(self, put):
        with pytest.raises(LabelRefused, match="corrupted"):
            read_vasprun(put(b"<modeling><incar></incar></modeling>", "vasprun.xml"))

    def test_a_step_without_forces(self, put):
        data = content("spin-relax", "vasprun.xml").replace(b'<varray name="forces" >', b'<varray name="other" >', 1)
        assert frames_of(put(data, "vasprun.xml")) == ([], "unfinished")
        # NWRITE = 0 leaves the forces of an OUTCAR out.
        data = content("spin-relax", "OUTCAR").replace(b"TOTAL-FORCE (eV/Angst)", b"", 1)
        steps = list(read_spins(put(data, "OUTCAR")))
        assert [step.energy_eV is None for step in steps] == [True, False, False, False, False]

    def test_a_step_of_the_force_field_alone_is_no_dft(self, put):
        data = content("converged", "vasprun.xml")
        start, end = data.index(b"<scstep>"), data.rindex(b"</scstep>") + len(b"</scstep>")
        (frame,) = read_vasprun(put(data[:start] + data[end:], "vasprun.xml")).frames
        assert (frame.scf_steps, frame.converged) == (0, False)

    def test_tables_of_the_force_field_are_not_read(self, put):
        data = content("converged", "OUTCAR")
        start, end = data.index(b"  in kB"), data.index(b" General timing")
        made = (
            data[start:end]
            .replace(b"6.096355", b"9.999999")
            .replace(b"TOTAL-FORCE (eV/Angst)", b"TOTAL-FORCE (eV/Angst) (ML)")
        )
        made = made.replace(b"  energy  without", b"  ML energy  without").replace(
            b"energy(sigma->0)", b"ML energy(sigma->0)"
        )
        (step,) = read_spins(put(data[:end] + made.replace(b"-6.50161629", b"-9.00000000") + data[end:], "OUTCAR"))
        assert step.energy_eV == -6.50161629
        np.testing.assert_allclose(step.positions_A, read("converged")[0].atoms.positions, rtol=0, atol=6e-6)

    def test_a_loop_ended_by_hand_is_unconverged(self, put):
        # STOPCAR ends a loop before NELM with the change it has.
        data = content("elec-unconverged", "vasprun.xml")
        data = data.replace(b'name="NELM">     8<', b'name="NELM">    60<')
        (frame,) = read_vasprun(put(data, "vasprun.xml")).frames
        assert (frame.scf_steps, frame.converged) == (8, False)

    def test_forces_of_fewer_atoms_are_left_to_the_verdict(self, put):
        row = b"   <v>       6.09635501     -11.33713775       7.02162328 </v>\n"
        data = content("converged", "vasprun.xml")
        assert row in data
        (frame,) = read_vasprun(put(data.replace(row, b""), "vasprun.xml")).frames
        assert frame.forces_eV_A.shape == (1, 3)

    def test_the_pressure_times_volume_of_pstress_is_no_energy(self, put):
        data = content("converged", "vasprun.xml").replace(b'"PSTRESS">      0.00000000', b'"PSTRESS">     10.00000000')
        path = put(data, "vasprun.xml")
        (frame,) = read_vasprun(path).frames
        assert frame.energy_eV == pytest.approx(-6.50161629 - GPa * 40.88829285, abs=1e-8)
        # ASE's eV here is of an older CODATA, 5e-7 off.
        oracle = ase.io.read(path, format="vasp-xml").get_potential_energy()
        assert frame.energy_eV == pytest.approx(oracle, abs=5e-7 * GPa * 40.9)

    def test_loops_of_linear_response_have_no_moments_of_their_own(self, put):
        """The loops of a real ground state again, behind its forces, as VASP numbers those of linear response."""
        data = content("spin-relax", "OUTCAR")
        first, end = data.index(b"-- Iteration"), data.index(b" General timing")
        loops = data[data.rindex(b"\n", 0, first) + 1 : data.index(b"magnetization (x)")]
        steps = list(read_spins(put(data[:end] + loops + loops + data[end:], "OUTCAR")))
        assert [step.energy_eV is None for step in steps] == [False] * 5 + [True]
        assert [step.moments_muB.tolist() for step in steps[:5]] == [[0.781], [0.769], [0.700], [0.660], [0.646]]

    @pytest.mark.parametrize("entropy", [b"-9.9", b"0.0"])
    def test_linear_response_is_no_part_of_the_ground_state_in_vasprun(self, entropy, put):
        data = content("converged", "vasprun.xml")
        whole = read("converged")
        made = b"".join(
            b'  <scstep>\n   <energy>\n    <i name="e_fr_energy">%f </i>\n    <i name="e_0_energy">%f </i>\n'
            b"   </energy>\n  </scstep>\n" % (energy, energy + float(entropy))
            for energy in (-30.0, -33.0, -33.2)
        )
        end = data.rindex(b"</scstep>") + len(b"</scstep>\n")
        data = data[:end] + made + data[end:]
        data = re.sub(rb'name="LEPSILON"> F ', b'name="LEPSILON"> T ', data)
        (frame,) = read_vasprun(put(data, "vasprun.xml")).frames
        assert same(frame, *whole)

    @pytest.mark.parametrize("isif", [0, 1, 2, 3])
    def test_stress_is_whole_from_isif_2_on(self, isif, put):
        data = re.sub(rb'name="ISIF"> *\d', b'name="ISIF"> %d' % isif, content("converged", "vasprun.xml"))
        found = read_vasprun(put(data, "vasprun.xml"))
        (frame,) = found.frames
        if isif >= 2:
            assert same(frame, *read("converged"))
            assert not found.notes
        else:
            assert frame.stress_eV_A3 is None
            (note,) = found.notes
            assert f"ISIF = {isif}" in note

    def test_refusals_have_names_of_the_list(self):
        assert {"did_not_start", "unfinished", "corrupted"} <= set(LabelRefusal)


CELL = np.diag([10.0, 12.0, 5.0])
TITLES = {"Na": "PAW_PBE Na_pv 19Sep2006", "V": "PAW_PBE V_pv 07Sep2000", "O": "PAW_PBE O 08Apr2002"}
TAGS = {
    "ENCUT": 520, "ISPIN": 2, "LDAU": True, "LDAUL": [-1, 2, -1], "LDAUU": [0, 4.2, 0], "LDAUJ": [0, 1, 0],
    "ISMEAR": 0, "SIGMA": 0.05, "LASPH": ".TRUE.", "PREC": "Accurate",
}  # fmt: skip


class TestLevel:
    def level(self, divisions=(2, 2, 4), symbols=("Na", "V", "O"), titles=TITLES, cell=CELL, **changed):
        tags = {**TAGS, **changed}
        return level_of(tags, tags, symbols, titles, cell, divisions)

    def test_of_tags(self):
        level = self.level()
        assert (level.functional, level.cutoff_eV, level.spin) == ("PBE", 520.0, True)
        assert level.hubbard == {"V": ("d", 3.2)}
        assert level.kpoint_reach_A == 20.0
        assert self.level(symbols=["Na"] * 3 + ["V"] * 2 + ["O"] * 12).hubbard == {"V": ("d", 3.2)}
        assert self.level(LDAU=False).hubbard == {}

    @pytest.mark.parametrize(
        ("tags", "functional"),
        [
            ({"GGA": "PE"}, "PBE"),
            ({"GGA": "Ps"}, "PBEsol"),
            ({"GGA": "--"}, "PBE"),
            ({"METAGGA": "R2scan"}, "R2SCAN"),
            ({"METAGGA": "--"}, "PBE"),
            ({"METAGGA": True}, ""),
            ({"LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2}, "HSE06"),
            ({"LHFCALC": True}, "PBE0"),
            ({"LHFCALC": ".FALSE."}, "PBE"),
        ],
    )
    def test_functional(self, tags, functional):
        assert self.level(**tags).functional == functional

    def test_functional_of_lda_potentials(self):
        assert level_of({}, {}, ["Si"], {"Si": "PAW Si 02Apr1999"}, CELL, None).functional == "LDA"
        assert level_of({}, {}, ["Si"], {}, CELL, None).functional == ""

    def test_spellings_agree(self):
        one = self.level(PREC="Accura", LREAL="Auto", LASPH="T", SIGMA=0.05)
        # VASP reports T for Auto and for On.
        reported = {**TAGS, "PREC": "accurate", "LREAL": True, "LASPH": True}
        other = level_of(reported, TAGS, ("Na", "V", "O"), TITLES, CELL, (2, 2, 4))
        assert differences(one, other) == []

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"ENCUT": 400}, "cutoff 520 against 400 eV"),
            ({"GGA": "PS"}, "functional PBE against PBEsol"),
            ({"ISPIN": 1}, "spin-polarised against not"),
            ({"LDAUU": [0, 5.2, 0]}, "U of V: 3.2 eV on d against 4.2 eV on d"),
            ({"LDAU": False}, "U of V: 3.2 eV on d against none"),
            ({"LASPH": False}, "LASPH True against False"),
            ({"SIGMA": 0.1}, "SIGMA 0.05 against 0.1"),
            ({"ISMEAR": 1}, "ISMEAR 0 against 1"),
            ({"PREC": "Normal"}, "PREC accurate against normal"),
            ({"LREAL": "Auto"}, "LREAL False against auto"),
            ({"IVDW": 12}, "IVDW 0 against 12"),
            ({"NUPDOWN": 2}, "NUPDOWN free against fixed"),
            ({"divisions": (1, 1, 2)}, "k-points that reach 20 against 10 Å"),
            (
                {"titles": {**TITLES, "Na": "PAW_PBE Na 08Apr2002"}},
                "potential of Na: PAW_PBE Na_pv 19Sep2006 against PAW_PBE Na 08Apr2002",
            ),
        ],
    )
    def test_differences(self, changed, sentence):
        assert differences(self.level(), self.level(**changed)) == [sentence]

    def test_what_is_no_difference(self):
        level = self.level()
        without = self.level(symbols=["V", "O"], titles={k: v for k, v in TITLES.items() if k != "Na"},
                             LDAUL=[2, -1], LDAUU=[4.2, 0], LDAUJ=[1, 0])  # fmt: skip
        assert differences(level, without) == []
        oxide = self.level(symbols=["Na", "O"], LDAU=False)
        assert differences(level, oxide) == []
        assert differences(level, self.level(titles={}, divisions=None, GGA="PE")) == []
        assert differences(self.level(NUPDOWN=2), self.level(NUPDOWN=4)) == []

    def test_reaches(self):
        assert differences(self.level(), self.level(cell=CELL * 1.3)) == []
        assert len(differences(self.level(), self.level(cell=CELL * 1.4))) == 1
        # Both dense; one dense is not enough.
        assert differences(self.level(cell=CELL * 1.3), self.level(cell=CELL * 3)) == []
        assert len(differences(self.level(), self.level(cell=CELL * 3))) == 1

    def test_another_code(self):
        assert differences(self.level(), Level(code="gpaw", functional="LDA")) == ["code vasp against gpaw"]

    def test_of_types_of_one_element(self, put):
        data = content("spin-relax", "vasprun.xml").replace(
            b'<i type="logical" name="LDAU"> F  </i>',
            b'<i type="logical" name="LDAU"> T  </i><v type="int" name="LDAUL">     1</v>'
            b'<v name="LDAUU">      3.32000000</v><v name="LDAUJ">      0.00000000</v>',
        )
        assert read_vasprun(put(data, "vasprun.xml")).level.hubbard == {"Si": ("p", 3.32)}
