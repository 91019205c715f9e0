"""Trajectories of other codes, written as files whose true paths are known."""

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from redoxmd.analyse import read_md
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.trajectory import write_segment
from tests.analyse.walks import INTERVAL_FS, TURN, atoms_of, vasprun_of, walk, write_dump

ELEMENTS = {"1": "Na", "2": "O"}
ASKED = {"frame_fs": INTERVAL_FS, "temperature_K": 600.0}
# Digits of the formats: XDATCAR has eight of fractional coordinates, XTC three of nanometres.
FINE_A, XTC_A = 1e-5, 2e-2


def displacements(trajectory, true_fractional, cell):
    """Difference (Å) between displacements from the first frame and the true ones, in the standard form of the cell."""
    standard = Atoms(cell=cell).cell.standard_form()[0]
    true = (true_fractional - true_fractional[0]) @ standard.array
    return np.abs(trajectory.positions_A - trajectory.positions_A[0] - true).max()


@pytest.mark.parametrize("name", ["XDATCAR", "t.extxyz", "t.extxyz.gz", "t.traj"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_files_of_ase_give_the_true_paths(tmp_path, name, wrapped):
    numbers, fractional, cell = walk()
    turned = cell @ TURN
    write(tmp_path / name, atoms_of(numbers, fractional, turned, wrap=wrapped))
    trajectory = read_md(tmp_path / name, **ASKED)
    assert displacements(trajectory, fractional, turned) < FINE_A
    assert np.allclose(trajectory.time_fs, INTERVAL_FS * np.arange(len(fractional)))
    assert trajectory.numbers.tolist() == numbers.tolist() and trajectory.metadata["temperature_K"] == 600
    # In standard form, so that D along x is that along a.
    assert trajectory.cell_A[0, 1:].tolist() == [0, 0] and trajectory.cell_A[1, 2] == 0


def test_an_xdatcar_with_elements_behind_the_coordinates_is_read(tmp_path):
    """As pymatgen's own XDATCAR_traj and converters have it."""
    numbers, fractional, cell = walk(frames=20, rate=0.1)
    write(tmp_path / "XDATCAR", atoms_of(numbers, fractional, cell))
    plain = (tmp_path / "XDATCAR").read_text().splitlines(keepends=True)
    coordinates = [number > 6 and not line.startswith("Direct") for number, line in enumerate(plain)]
    labelled = [f"{line.rstrip()} Na\n" if is_row else line for line, is_row in zip(plain, coordinates, strict=True)]
    (tmp_path / "XDATCAR").write_text("".join(labelled))
    trajectory = read_md(tmp_path / "XDATCAR", **ASKED)
    assert displacements(trajectory, fractional, cell) < FINE_A
    assert trajectory.numbers.tolist() == numbers.tolist()


@pytest.mark.parametrize(
    "columns", ["x y z", "xs ys zs", "x y z ix iy iz", "xs ys zs ix iy iz", "xu yu zu", "xsu ysu zsu"]
)
def test_every_form_of_lammps_dump_gives_the_true_paths(tmp_path, columns):
    numbers, fractional, cell = walk(frames=60)
    path = write_dump(tmp_path / "t.lammpstrj", numbers, fractional, cell, columns)
    trajectory = read_md(path, elements=ELEMENTS, **ASKED)
    assert displacements(trajectory, fractional, cell) < FINE_A
    assert trajectory.steps.tolist() == (100 * np.arange(60)).tolist()
    named = write_dump(tmp_path / "named.dump", numbers, fractional, cell, columns, typed=False)
    assert read_md(named, **ASKED).numbers.tolist() == numbers.tolist()


def test_image_flags_unwrap_frames_of_any_interval(tmp_path):
    numbers, fractional, cell = walk(frames=60, rate=0.5)
    path = write_dump(tmp_path / "far.dump", numbers, fractional, cell, "xs ys zs ix iy iz")
    assert displacements(read_md(path, elements=ELEMENTS, **ASKED), fractional, cell) < FINE_A
    path = write_dump(tmp_path / "wrapped.dump", numbers, fractional[::20], cell, "xs ys zs")
    with pytest.raises(DataError, match=r"wrapped\.dump: Na \d moves by .*too far apart to unwrap.*ix iy iz"):
        read_md(path, elements=ELEMENTS, **ASKED)


def test_a_vasprun_gives_interval_and_temperature(tmp_path):
    numbers, fractional, cell = walk(frames=30, rate=0.05)
    text = vasprun_of(numbers, fractional, cell, 700)
    path = tmp_path / "vasprun.xml"
    path.write_text(text)
    trajectory = read_md(path)
    assert displacements(trajectory, fractional, cell) < FINE_A
    assert trajectory.time_fs[:3].tolist() == [0, 2, 4] and trajectory.metadata["temperature_K"] == 700
    # A run that was killed: the frames before the end are read, and the result says so.
    path.write_text(text[: int(0.7 * len(text))])
    cut = read_md(path)
    assert 10 < len(cut.time_fs) < 30 and "ends early" in cut.metadata["note"]
    path.write_text(
        text.replace('name="IBRION">      0', 'name="IBRION">      2').replace('"IBRION"> 0', '"IBRION"> 2')
    )
    with pytest.raises(DataError, match=r"vasprun\.xml: IBRION = 2 is no MD"):
        read_md(path)


@pytest.mark.parametrize("name", ["t.xtc", "t.dcd", "other.h5"])
def test_files_of_mdanalysis_give_the_true_paths(tmp_path, name):
    mda = pytest.importorskip("MDAnalysis")
    numbers, fractional, cell = walk(frames=60)
    frames = atoms_of(numbers, fractional, cell)
    write(tmp_path / "POSCAR", frames[0])
    universe = mda.Universe.empty(len(numbers))
    universe.add_TopologyAttr("names", ["NA" if number == 11 else "OX" for number in numbers])
    positions, box = np.array([frame.positions for frame in frames]), frames[0].cell.cellpar()
    universe.load_new(positions, dimensions=np.tile(box, (60, 1)), dt=INTERVAL_FS / 1000)
    form = {"format": "H5MD", "lengthunit": "Angstrom", "timeunit": "ps"} if name == "other.h5" else {}
    with mda.Writer(str(tmp_path / name), len(numbers), dt=INTERVAL_FS / 1000, **form) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    trajectory = read_md(tmp_path / name, topology=tmp_path / "POSCAR", temperature_K=600.0)
    assert displacements(trajectory, fractional, cell) < XTC_A
    assert np.allclose(np.diff(trajectory.time_fs), INTERVAL_FS, rtol=1e-3)
    assert trajectory.numbers.tolist() == numbers.tolist()
    if form:
        with pytest.raises(DataError, match=r"other\.h5: .*give --topology FILE"):
            read_md(tmp_path / name, **ASKED)
    universe.atoms.write(str(tmp_path / "names.gro"))
    with pytest.raises(DataError, match=r"names\.gro: element of NA, OX unknown; give --elements NA=…,OX=…"):
        read_md(tmp_path / name, topology=tmp_path / "names.gro", **ASKED)
    named = read_md(tmp_path / name, topology=tmp_path / "names.gro", elements={"NA": "Na", "OX": "O"}, **ASKED)
    assert named.numbers.tolist() == numbers.tolist()


def test_a_trajectory_of_redoxmd_is_returned_as_it_is(tmp_path):
    numbers, fractional, cell = walk(frames=20)
    write(tmp_path / "t.extxyz", atoms_of(numbers, fractional, cell))
    trajectory = read_md(tmp_path / "t.extxyz", **ASKED)
    write_segment(tmp_path / "t.h5", trajectory)
    own = read_md(tmp_path / "t.h5")
    assert np.abs(own.positions_A - trajectory.positions_A).max() < FINE_A
    assert own.metadata["temperature_K"] == 600 and own.time_fs.tolist() == trajectory.time_fs.tolist()


def test_a_cell_that_breathes_adds_nothing_to_the_paths(tmp_path):
    """NPT: atoms follow the cell; what remains is the walk in the mean cell."""
    numbers, fractional, cell = walk()
    rng = np.random.default_rng(2)
    strain = 1 + 0.02 * rng.standard_normal((len(fractional), 3, 1))
    cells = strain * cell
    mean = cells.mean(axis=0)
    for name, frames in {
        "t.extxyz": atoms_of(numbers, fractional, cells),
        "unwrapped.traj": atoms_of(numbers, fractional, cells, wrap=False),
    }.items():
        write(tmp_path / name, frames)
        trajectory = read_md(tmp_path / name, **ASKED)
        assert displacements(trajectory, fractional, mean) < FINE_A
        assert "fractional coordinates in the mean cell" in trajectory.metadata["note"]
    path = write_dump(tmp_path / "t.dump", numbers, fractional, cells, "x y z ix iy iz")
    assert displacements(read_md(path, elements=ELEMENTS, **ASKED), fractional, mean) < FINE_A
    # A box that LAMMPS flips: the same lattice, other vectors.
    cells[100:, 1] += cells[100:, 0]
    write(tmp_path / "flip.extxyz", atoms_of(numbers, fractional, cells))
    with pytest.raises(DataError, match=r"flip\.extxyz: the cell of frame \d+ differs .*flip no"):
        read_md(tmp_path / "flip.extxyz", **ASKED)


def test_times_and_temperature_of_the_file_are_used(tmp_path):
    numbers, fractional, cell = walk(frames=20)
    times, kelvins = 20.0 * np.arange(20), np.full(20, 450.0)
    frames = atoms_of(numbers, fractional, cell, time_fs=times, temperature_K=kelvins)
    write(tmp_path / "t.extxyz", frames)
    trajectory = read_md(tmp_path / "t.extxyz")
    assert trajectory.time_fs.tolist() == times.tolist() and trajectory.metadata["temperature_K"] == 450
    with pytest.raises(DataError, match=r"t\.extxyz: frames are 20 fs apart by the file, 50 fs by --frame-fs; omit"):
        read_md(tmp_path / "t.extxyz", frame_fs=50.0)
    with pytest.raises(DataError, match=r"t\.extxyz: 450 K by the file, 600 K by --temperature; omit the option"):
        read_md(tmp_path / "t.extxyz", temperature_K=600.0)


def bad_files(folder):
    """Name → message of files that lack something."""
    numbers, fractional, cell = walk(frames=20)
    frames = atoms_of(numbers, fractional, cell)
    write(folder / "one.extxyz", frames[:1])
    write(folder / "others.extxyz", [*frames[:5], frames[5][:-1]])
    swapped = frames[5].copy()
    swapped.numbers = swapped.numbers[::-1]
    write(folder / "order.extxyz", [*frames[:5], swapped])
    write(folder / "plain.xyz", [Atoms(frame.numbers, frame.positions) for frame in frames])
    (folder / "text.xyz").write_text("not a trajectory\n")
    steps = [0, 100, 200, 200, 300, *range(400, 1900, 100)]
    write(folder / "repeated.extxyz", atoms_of(numbers, fractional, cell, step=steps))
    write_dump(folder / "types.dump", numbers, fractional, cell, "x y z")
    text = write_dump(folder / "cut.dump", numbers, fractional, cell, "x y z", typed=False).read_text()
    (folder / "cut.dump").write_text("\n".join(text.splitlines()[:-4]) + "\n")
    dump = write_dump(folder / "slab.dump", numbers, fractional, cell, "x y z", typed=False).read_text()
    (folder / "slab.dump").write_text(dump.replace("pp pp pp", "pp pp ff"))
    (folder / "abc.dump").write_text(dump.replace("xy xz yz pp", "abc origin pp"))
    (folder / "units.dump").write_text("ITEM: UNITS\nmetal\n" + dump)
    write(folder / "cluster.extxyz", [Atoms(frame.numbers, frame.positions, cell=frame.cell) for frame in frames])
    nan = fractional.copy()
    nan[7, 2] = np.nan
    write(folder / "nan.traj", atoms_of(numbers, nan, cell))
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["particles/all/position/value"] = np.zeros((3, 2, 3))
    return {
        "missing.xyz": "no such file",
        "one.extxyz": "1 frame; an analysis needs several, so join single frames into one file",
        "others.extxyz": "frame 5 has other atoms than frame 0",
        "order.extxyz": "frame 5 has other atoms than frame 0, or another order",
        "plain.xyz": "frame 0 has no cell",
        "text.xyz": "not readable",
        "repeated.extxyz": "step 200 follows 200, other frames are 100 steps apart; remove repeated frames",
        "types.dump": "element of 1, 2 unknown; give --elements 1=…,2=…",
        "cut.dump": "step 1900 ends after 26 of 30 atoms",
        "slab.dump": "a box xy xz yz pp pp ff; only boxes that are periodic",
        "abc.dump": "a box abc origin pp pp pp; only boxes",
        "units.dump": "begins with ITEM: UNITS; write it without `dump_modify units`",
        "cluster.extxyz": "frame 0 is not periodic along all cell vectors",
        "nan.traj": "the position of atom 2 in frame 7 is not finite",
        "foreign.h5": "no trajectory of redoxmd and without elements; give --topology FILE",
    }


def test_files_that_lack_something_are_refused_by_name(tmp_path):
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(DataError) as refusal:
            read_md(tmp_path / name, **ASKED)
        assert str(refusal.value).startswith(f"{tmp_path / name}: ") and message in str(refusal.value), name


def test_missing_times_and_temperature_are_asked_for(tmp_path):
    numbers, fractional, cell = walk(frames=20)
    write(tmp_path / "XDATCAR", atoms_of(numbers, fractional, cell))
    with pytest.raises(DataError, match=r"XDATCAR: states no temperature; give --temperature K"):
        read_md(tmp_path / "XDATCAR", frame_fs=50.0)
    with pytest.raises(DataError, match=r"XDATCAR: states no times; give --frame-fs"):
        read_md(tmp_path / "XDATCAR", temperature_K=600.0)


def test_frames_too_far_apart_are_refused_before_they_are_wrong(tmp_path):
    """Every interval that is accepted gives the true paths; the longest ones are refused."""
    rng = np.random.default_rng(3)
    cell = 8.0 * np.eye(3)
    path = np.cumsum(0.15 * rng.standard_normal((6000, 4, 3)), axis=0) / 8
    outcomes = []
    for every in (1, 5, 10, 20, 50, 200, 500):
        frames = path[::every]
        write(tmp_path / "t.traj", atoms_of(np.array([11] * 4), frames, cell))
        try:
            trajectory = read_md(tmp_path / "t.traj", **ASKED)
        except DataError as refusal:
            outcomes.append("too far apart" in str(refusal))
            continue
        assert displacements(trajectory, frames, cell) < FINE_A, every
        outcomes.append(False)
    assert outcomes == sorted(outcomes) and not outcomes[1] and outcomes[-1]


def test_unwrapped_positions_are_trusted_where_the_user_says_so(tmp_path):
    numbers, fractional, cell = walk(frames=400, rate=0.2)
    write(tmp_path / "t.traj", atoms_of(numbers, fractional[::20], cell, wrap=False))
    with pytest.raises(DataError, match="--unwrapped"):
        read_md(tmp_path / "t.traj", **ASKED)
    trajectory = read_md(tmp_path / "t.traj", unwrapped=True, **ASKED)
    assert displacements(trajectory, fractional[::20], cell) < FINE_A


def test_the_beginning_is_left_out_on_request(tmp_path):
    numbers, fractional, cell = walk(frames=40, rate=0.1)
    write(tmp_path / "t.traj", atoms_of(numbers, fractional, cell))
    write_segment(tmp_path / "t.h5", read_md(tmp_path / "t.traj", **ASKED))
    for name in ("t.traj", "t.h5"):
        trajectory = read_md(tmp_path / name, skip_ps=0.5, **ASKED)
        assert trajectory.time_fs.tolist() == (INTERVAL_FS * np.arange(10, 40)).tolist()
        assert displacements(trajectory, fractional[10:], cell) < FINE_A
        with pytest.raises(DataError, match=rf"{name}: 1\.95 ps long, of which --skip-ps 2 leaves nothing"):
            read_md(tmp_path / name, skip_ps=2.0, **ASKED)


def test_elements_are_parsed_or_refused():
    from redoxmd.analyse.reading import parse_elements

    assert parse_elements("1=Na, OX=O") == {"1": "Na", "OX": "O"} and parse_elements("") == {}
    for text in ("Na", "1=Xx", "=Na"):
        with pytest.raises(ConfigError, match="is not of the form 1=Na"):
            parse_elements(text)
