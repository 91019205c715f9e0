"""vasprun.xml and OUTCAR against numbers read off real files, pymatgen, ASE and each other; cut, joined, damaged."""

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
from pymatgen.io.vasp.outputs import Outcar, Vasprun

from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.level import differences, level_of
from redoxmd.engines.vasp.outcar import read_moments, read_outcar
from redoxmd.engines.vasp.vasprun import read_vasprun
from redoxmd.errors import LabelRefusal, LabelRefused

DATA = Path(__file__).parents[2] / "data/vasp"
RUNS = ("converged", "elec-unconverged", "spin-relax", "unfinished")
WHOLE = RUNS[:3]
READERS = {"vasprun.xml": read_vasprun, "OUTCAR": read_outcar}
# What OUTCAR prints: positions, cell, forces, stress in kB.
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


def frames_of(read, path):
    """Frames before the end or a refusal, and the reason of that."""
    frames = []
    try:
        for frame in read(path).frames:
            frames.append(frame)
    except LabelRefused as refused:
        return frames, refused.reason
    return frames, None


def read(run, name):
    return list(READERS[name](DATA / run / f"{name}.xz").frames)


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
    @pytest.mark.parametrize("name", READERS)
    def test_converged(self, name):
        (frame,) = read("converged", name)
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

    @pytest.mark.parametrize("name", READERS)
    def test_nelm_reached_is_unconverged_whatever_outcar_says(self, name):
        assert b"aborting loop because EDIFF is reached" in content("elec-unconverged", "OUTCAR")
        (frame,) = read("elec-unconverged", name)
        assert frame.energy_eV == -6.50149309
        assert (frame.scf_steps, frame.converged) == (8, False)

    @pytest.mark.parametrize("name", READERS)
    def test_every_step_of_a_relaxation(self, name):
        frames = read("spin-relax", name)
        assert [frame.energy_eV for frame in frames] == [
            -1.38438257, -1.55967122, -1.86755330, -1.96233012, -1.97252333,
        ]  # fmt: skip
        assert [frame.scf_steps for frame in frames] == [15, 11, 14, 15, 14]
        assert [frame.step for frame in frames] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(frames[4].atoms.cell[0], [2.36837721, 2.36837721, 0.0], atol=CELL_DIGIT_A * 10)

    def test_fourth_step_of_nelm_steps_converged_by_less_than_vasprun_can_say(self):
        # -0.8828920E-09 in OUTCAR, EDIFF = 1e-9, which vasprun.xml prints as 0.00000000.
        assert [frame.converged for frame in read("spin-relax", "OUTCAR")] == [False, True, True, True, True]
        assert [frame.converged for frame in read("spin-relax", "vasprun.xml")] == [False, True, True, False, True]

    def test_moments(self):
        expected = [0.781, 0.769, 0.700, 0.660, 0.646]
        assert [float(moments[0]) for moments in read_moments(DATA / "spin-relax/OUTCAR.xz")] == expected
        assert [float(frame.moments_muB[0]) for frame in read("spin-relax", "OUTCAR")] == expected
        assert read_moments(DATA / "converged/OUTCAR.xz") == [None]
        assert read_moments(DATA / "unfinished/OUTCAR.xz") == []

    def test_header(self):
        found = read_vasprun(DATA / "converged/vasprun.xml.xz")
        assert found.electrons == 8
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

    def test_header_of_outcar(self):
        found = read_outcar(DATA / "spin-relax/OUTCAR.xz")
        assert found.electrons == 4
        assert found.settings["EDIFF"] == 1e-9
        level = found.level
        assert (level.functional, level.cutoff_eV, level.spin) == ("PBE", 240.0, True)
        assert level.potentials == {"Si": "PAW_PBE Si 05Jan2001"}
        assert level.kpoint_reach_A == pytest.approx(8 * 1.95 * np.sqrt(2), abs=1e-6)
        assert level.details["NUPDOWN"] == 2

    def test_outcar_without_incar_does_not_claim_a_functional(self):
        level = read_outcar(DATA / "converged/OUTCAR.xz").level
        assert (level.functional, level.details["GGA"], level.details["IVDW"]) == ("", "PBE", None)


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
    @pytest.mark.parametrize(("name", "kind"), [("vasprun.xml", "vasp-xml"), ("OUTCAR", "vasp-out")])
    def test_as_ase_reads_it(self, run, name, kind, put):
        path = put(content(run, name), name)
        oracle = ase.io.read(path, ":", format=kind)
        frames = list(READERS[name](path).frames)
        assert len(frames) == len(oracle)
        for frame, atoms in zip(frames, oracle, strict=True):
            # ASE gives the energy with the entropy's share taken out to zero smearing too.
            assert frame.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
            np.testing.assert_array_equal(frame.forces_eV_A, atoms.get_forces(apply_constraint=False))
            np.testing.assert_allclose(frame.atoms.positions, atoms.positions, rtol=0, atol=1e-12)
            # ASE takes one triangle, VASP's differ in the sixth decimal of a kB.
            np.testing.assert_allclose(frame.stress_eV_A3, atoms.get_stress(voigt=False), rtol=0, atol=1e-8)

    def test_moments_as_pymatgen_reads_them(self, put):
        oracle = Outcar(put(content("spin-relax", "OUTCAR"), "OUTCAR")).magnetization
        assert [float(m) for m in read("spin-relax", "OUTCAR")[-1].moments_muB] == [ion["tot"] for ion in oracle]

    @pytest.mark.parametrize("run", WHOLE)
    def test_both_files_tell_the_same(self, run):
        one, other = read(run, "vasprun.xml"), read(run, "OUTCAR")
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.energy_eV == b.energy_eV
            assert a.scf_steps == b.scf_steps
            np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, rtol=0, atol=0.51 * POSITION_DIGIT_A)
            np.testing.assert_allclose(a.atoms.cell, b.atoms.cell, rtol=0, atol=1.01e-8)
            np.testing.assert_allclose(a.forces_eV_A, b.forces_eV_A, rtol=0, atol=0.51 * FORCE_DIGIT_eV_A)
            # Half a digit each, and half the difference of VASP's two triangles.
            np.testing.assert_allclose(a.stress_eV_A3 / GPa, b.stress_eV_A3 / GPa, rtol=0, atol=STRESS_DIGIT_kB)

    @pytest.mark.parametrize("run", RUNS)
    def test_both_files_have_the_same_level(self, run):
        levels = [READERS[name](DATA / run / f"{name}.xz").level for name in READERS]
        assert differences(*levels) == []


class TestCutFiles:
    @pytest.mark.parametrize("run", RUNS)
    @pytest.mark.parametrize("name", READERS)
    def test_a_cut_file_gives_frames_of_the_whole_or_none(self, run, name, put):
        data = content(run, name)
        whole, _ = frames_of(READERS[name], put(data, name))
        given = set()
        for size in (*range(0, len(data) - 1, CUT_EVERY_BYTES), len(data) - 3):
            frames, reason = frames_of(READERS[name], put(data[:size], name))
            allowed = {"did_not_start"} if size == 0 else {"unfinished"}
            if name == "OUTCAR" and data[:size].count(b"General timing and accounting informations"):
                allowed = {None}
            assert reason in allowed, size
            assert all(same(a, b) for a, b in zip(frames, whole, strict=False)), size
            assert len(frames) <= len(whole), size
            given.add(len(frames))
        assert given == set(range(len(whole) + 1)) or run != "spin-relax"

    @pytest.mark.parametrize("name", READERS)
    def test_every_byte_of_the_end_of_a_step(self, name, put):
        data = content("spin-relax", name)
        mark = b"</calculation>" if name == "vasprun.xml" else b"  energy  without entropy="
        end = data.index(mark)
        whole, _ = frames_of(READERS[name], put(data, name))
        for size in range(end - 200, end + 100):
            frames, reason = frames_of(READERS[name], put(data[:size], name))
            assert reason == "unfinished"
            assert len(frames) <= 1 and all(same(a, b) for a, b in zip(frames, whole, strict=False))

    @pytest.mark.parametrize("name", READERS)
    @pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
    def test_compressed(self, name, suffix, put):
        compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
        data = compress(content("spin-relax", name))
        whole = read("spin-relax", name)
        frames, reason = frames_of(READERS[name], put(data, name + suffix))
        assert reason is None and all(same(a, b) for a, b in zip(frames, whole, strict=True))
        for size in range(0, len(data) - 1, len(data) // 12):
            frames, reason = frames_of(READERS[name], put(data[:size], name + suffix))
            assert reason == ("unfinished" if size else "did_not_start")
            assert all(same(a, b) for a, b in zip(frames, whole, strict=False))
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 0xFF
        frames, reason = frames_of(READERS[name], put(bytes(damaged), name + suffix))
        assert reason in {"corrupted", "unfinished"}

    @pytest.mark.parametrize("name", READERS)
    def test_no_file(self, name, tmp_path):
        with pytest.raises(LabelRefused, match="did_not_start") as refused:
            READERS[name](tmp_path / name)
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


@pytest.mark.parametrize("name", READERS)
def test_memory_does_not_grow_with_the_run(name, put):
    peaks = []
    for steps in (30, 120):
        path = put(long_run(name, steps), name)
        tracemalloc.start()
        assert sum(1 for _ in READERS[name](path).frames) == steps
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


class TestDamagedFiles:
    @pytest.mark.parametrize("name", READERS)
    def test_two_runs_in_a_file(self, name, put):
        data = content("spin-relax", name)
        frames, reason = frames_of(READERS[name], put(data + data, name))
        assert reason == "corrupted"
        assert len(frames) == 5

    @pytest.mark.parametrize("name", READERS)
    def test_a_run_behind_a_cut_one(self, name, put):
        data = content("spin-relax", name)
        frames, reason = frames_of(READERS[name], put(data[: len(data) // 3] + b"\n" + data, name))
        assert reason == "corrupted"
        assert all(same(a, b) for a, b in zip(frames, read("spin-relax", name), strict=False))

    @pytest.mark.parametrize(
        ("name", "number"),
        [
            ("vasprun.xml", b"     -6.09635501"),
            ("vasprun.xml", b"      0.78000000       0.77000000       0.73000000 </v>\n    <v>       0.60000000"),
            ("OUTCAR", b"    -6.096355"),
            ("OUTCAR", b"   544.49046"),
        ],
    )
    def test_a_number_too_large_for_its_field(self, name, number, put):
        data = content("converged", name)
        # The last such number is in the ionic step.
        before, _, after = data.rpartition(number)
        path = put(before + b" " + b"*" * (len(number) - 1) + after, name)
        with pytest.raises(LabelRefused, match=r"corrupted: .*step 0") as refused:
            list(READERS[name](path).frames)
        assert str(path) in str(refused.value)

    @pytest.mark.parametrize(("name", "number"), [("vasprun.xml", b"     -6.09635501"), ("OUTCAR", b"    -6.096355")])
    def test_not_a_number_is_left_to_the_verdict(self, name, number, put):
        before, _, after = content("converged", name).rpartition(number)
        (frame,) = READERS[name](put(before + b"NaN".rjust(len(number)) + after, name)).frames
        assert np.isnan(frame.forces_eV_A[0, 0]) and np.isfinite(frame.forces_eV_A[1]).all()

    def test_numbers_that_touch(self, put):
        # F12.5 has no blank left before -12345.67890.
        data = content("converged", "OUTCAR").replace(b"  -198.81087  -417.05080", b"-12345.67890-10417.05080")
        (frame,) = read_outcar(put(data, "OUTCAR")).frames
        assert frame.stress_eV_A3[0, 1] == pytest.approx(-0.1 * GPa * -12345.6789)
        assert frame.stress_eV_A3[1, 2] == pytest.approx(-0.1 * GPa * -10417.0508)

    def test_broken_xml_in_the_middle(self, put):
        data = content("spin-relax", "vasprun.xml")
        second = data.index(b"</calculation>") + 2000
        frames, reason = frames_of(read_vasprun, put(data[:second] + b"<&" + data[second:], "vasprun.xml"))
        assert (len(frames), reason) == (1, "corrupted")

    def test_xml_of_something_else(self, put):
        with pytest.raises(LabelRefused, match="corrupted"):
            read_vasprun(put(b"<modeling><incar></incar></modeling>", "vasprun.xml"))

    def test_a_step_without_forces(self, put):
        data = content("spin-relax", "vasprun.xml").replace(b'<varray name="forces" >', b'<varray name="other" >', 1)
        assert frames_of(read_vasprun, put(data, "vasprun.xml")) == ([], "unfinished")
        data = content("spin-relax", "OUTCAR").replace(b"TOTAL-FORCE (eV/Angst)", b"", 1)
        assert frames_of(read_outcar, put(data, "OUTCAR")) == ([], "unfinished")

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
        (frame,) = read_outcar(
            put(data[:end] + made.replace(b"-6.50161629", b"-9.00000000") + data[end:], "OUTCAR")
        ).frames
        assert same(frame, *read("converged", "OUTCAR"))

    def test_a_loop_ended_by_hand_is_unconverged(self, put):
        # STOPCAR ends a loop before NELM with the change it has.
        data = content("elec-unconverged", "vasprun.xml")
        data = data.replace(b'name="NELM">     8<', b'name="NELM">    60<')
        (frame,) = read_vasprun(put(data, "vasprun.xml")).frames
        assert (frame.scf_steps, frame.converged) == (8, False)
        data = content("elec-unconverged", "OUTCAR").replace(b"NELM   =      8;", b"NELM   =     60;")
        (frame,) = read_outcar(put(data, "OUTCAR")).frames
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

    @pytest.mark.parametrize("number", [1, 4, 100])
    def test_loops_of_displaced_atoms_have_numbers_of_their_own(self, number, put):
        """IBRION = 8, as VASP 5.2 numbers its loops: 1(18), then 4(1) and 100(1), or on from 1(18)."""
        data = content("converged", "OUTCAR").replace(b"IBRION =      1", b"IBRION =      8")
        end = data.index(b" General timing")
        loop = b"\n------- Iteration %4d(%4d)  -------\n total energy-change (2. order) :-0.1E+01  (-0.2E+00)\n"
        loops = b"".join(loop % (number, k) for k in range(13, 20))
        path = put(data[:end] + loops + loop % (number + 1, 1) + data[end:], "OUTCAR")
        (frame,) = read_outcar(path).frames
        assert same(frame, *read("converged", "OUTCAR"))

    @pytest.mark.parametrize("tag", ["LEPSILON", "LCHIMAG", "LCALCEPS"])
    def test_loops_of_linear_response_are_no_second_run(self, tag, put):
        """The loops of a real ground state again, behind its forces, as VASP numbers those of linear response."""
        data = content("converged", "OUTCAR")
        whole = read("converged", "OUTCAR")
        first, end = data.index(b"-- Iteration"), data.index(b" General timing")
        loops = data[data.rindex(b"\n", 0, first) + 1 : data.index(b"FREE ENERGIE OF THE ION-ELECTRON")]
        loops = loops.replace(b"energy-change (2. order) :", b"energy-change (2. order) :-9")
        tags = f"   {tag} =      T    linear response\n".encode()
        mark = b"   NELECT ="
        path = put(data[:end].replace(mark, tags + mark, 1) + loops + loops + data[end:], "OUTCAR")
        found = read_outcar(path)
        (frame,) = found.frames
        assert same(frame, *whole)
        assert list(found.notes) == [f"loops of a response ({tag} = T) behind the ground state are left out"]
        path = put(data[:end] + loops + data[end:], "OUTCAR")
        assert frames_of(read_outcar, path)[1] == "corrupted"

    @pytest.mark.parametrize("entropy", [b"-9.9", b"0.0"])
    def test_linear_response_is_no_part_of_the_ground_state_in_vasprun(self, entropy, put):
        data = content("converged", "vasprun.xml")
        whole = read("converged", "vasprun.xml")
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

    def test_elements_of_potcar_lines_where_nwrite_leaves_the_potcars_out(self, put):
        data = content("spin-relax", "OUTCAR").replace(b"NWRITE =      2", b"NWRITE =      1")
        short = re.sub(rb"\n +(VRHFIN|TITEL) *=[^\n]*", b"", data)
        assert short != data
        path = put(short, "OUTCAR")
        assert read_outcar(path).level == read_outcar(DATA / "spin-relax/OUTCAR.xz").level
        assert all(same(a, b) for a, b in zip(read_outcar(path).frames, read("spin-relax", "OUTCAR"), strict=True))
        nothing = re.sub(rb"\n POTCAR:[^\n]*", b"", short)
        with pytest.raises(LabelRefused, match=r"NWRITE below 2.*take the vasprun\.xml"):
            read_outcar(put(nothing, "OUTCAR"))

    def test_convergence_that_nwrite_leaves_out_is_not_held_against_a_step(self, put):
        data = content("spin-relax", "OUTCAR").replace(b"NWRITE =      2", b"NWRITE =      1")
        second = re.search(rb"Iteration +2\( +1\)", data).start()
        short = data[:second] + re.sub(rb"\n total energy-change[^\n]*", b"", data[second:])
        found = read_outcar(put(short, "OUTCAR"))
        # NELM is 15: the first and the fourth step reach it.
        assert [frame.converged for frame in found.frames] == [False, None, None, False, None]
        assert list(found.notes.values()) == [3]
        found = read_outcar(put(short.replace(b"NWRITE =      1", b"NWRITE =      2"), "OUTCAR"))
        assert [frame.converged for frame in found.frames] == [False] * 5

    def test_forces_that_nwrite_leaves_out_cost_their_steps_only(self, put):
        data = content("spin-relax", "OUTCAR").replace(b"NWRITE =      2", b"NWRITE =      0")
        start, end = (re.search(rb"Iteration +%d\( +1\)" % step, data).start() for step in (2, 5))
        short = data[:start] + data[start:end].replace(b"TOTAL-FORCE (eV/Angst)", b"") + data[end:]
        frames = list(read_outcar(put(short, "OUTCAR")).frames)
        assert [frame.refusal and frame.refusal.reason for frame in frames] == [None, *["unfinished"] * 3, None]
        assert "repeat with NWRITE = 2" in frames[1].refusal.detail
        assert same(frames[4], read("spin-relax", "OUTCAR")[4])

    def test_a_run_of_the_force_field_alone_is_named(self, put):
        data = content("converged", "OUTCAR")
        start, end = data.index(b"-- Iteration"), data.index(b"  FORCE on cell")
        made = data[:start] + b"\n" + data[end:].replace(b"TOTAL-FORCE (eV/Angst)", b"TOTAL-FORCE (eV/Angst) (ML)")
        with pytest.raises(LabelRefused, match=r"unconverged: .*force field \(ML_LMLFF = T\).*without ML_LMLFF"):
            read_outcar(put(made, "OUTCAR"))

    def test_steps_of_the_force_field_between_those_of_dft_are_noted(self, put):
        data = content("converged", "OUTCAR")
        start, end = data.index(b"  in kB"), data.index(b" General timing")
        made = data[start:end].replace(b"TOTAL-FORCE (eV/Angst)", b"TOTAL-FORCE (eV/Angst) (ML)")
        made = made.replace(b"  energy  without", b"  ML energy  without").replace(b"energy(s", b"ML energy(s")
        found = read_outcar(put(data[:end] + 2 * made + data[end:], "OUTCAR"))
        (frame,) = found.frames
        assert same(frame, *read("converged", "OUTCAR"))
        assert list(found.notes) == ["steps that VASP's own force field predicted (ML_LMLFF) are left out"]

    @pytest.mark.parametrize("isif", [0, 1, 2, 3])
    @pytest.mark.parametrize("name", READERS)
    def test_stress_is_whole_from_isif_2_on(self, name, isif, put):
        data = content("converged", name)
        data = re.sub(rb'name="ISIF"> *\d', b'name="ISIF"> %d' % isif, data)
        data = re.sub(rb"ISIF   = +\d", b"ISIF   = %d" % isif, data)
        found = READERS[name](put(data, name))
        (frame,) = found.frames
        if isif >= 2:
            assert same(frame, *read("converged", name))
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
        return level_of({**TAGS, **changed}, symbols, titles, cell, divisions)

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
            ({"METAGGA": None}, ""),
            ({"LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2}, "HSE06"),
            ({"LHFCALC": True}, "PBE0"),
            ({"LHFCALC": ".FALSE."}, "PBE"),
        ],
    )
    def test_functional(self, tags, functional):
        assert self.level(**tags).functional == functional

    def test_functional_of_lda_potentials(self):
        assert level_of({}, ["Si"], {"Si": "PAW Si 02Apr1999"}, CELL, None).functional == "LDA"
        assert level_of({}, ["Si"], {}, CELL, None).functional == ""

    def test_spellings_agree(self):
        one = self.level(PREC="Accura", LREAL="Auto", LASPH="T", SIGMA=0.05)
        other = self.level(PREC="accurate", LREAL=True, LASPH=True)
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
        assert differences(level, self.level(titles={}, divisions=None, GGA="PE", IVDW=None)) == []
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
        lines = (
            b" LDA+U is selected, type is set to LDAUTYPE =  2\n"
            b"   angular momentum for each species LDAUL =     1\n"
            b"   U (eV)           for each species LDAUU =   3.3\n"
            b"   J (eV)           for each species LDAUJ =   0.0\n"
        )
        mark = b" Exchange correlation treatment:"
        data = content("spin-relax", "OUTCAR").replace(mark, lines + mark)
        assert read_outcar(put(data, "OUTCAR")).level.hubbard == {"Si": ("p", 3.3)}
