"""Ions that hop on a lattice of known sites, written in the formats of other codes."""

import re

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from tests.archive.made import vasprun

SITE_A, INTERVAL_FS = 4.0, 50.0
# Vectors of a triclinic cell with one site, in LAMMPS form, and a rotation.
CELL_A = np.array([[4.0, 0, 0], [0.6, 4.0, 0], [-0.4, 0.5, 4.2]])
TURN = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
TYPES = {11: 1, 8: 2, 3: 1, 15: 2, 16: 3}
TITLES = {"Na": "PAW_PBE Na_pv 19Sep2006", "O": "PAW_PBE O 08Apr2002"}


def walk(frames=200, ions=3, rate=0.01, seed=0, repeats=3, cell=CELL_A, axes=3):
    """Numbers (n,), fractional unwrapped coordinates (T, n, 3) and cell: Na hops between cells, O stays."""
    rng = np.random.default_rng(seed)
    grid = np.array([[i, j, k] for i in range(repeats) for j in range(repeats) for k in range(repeats)])
    hop = rng.random((frames, ions)) < rate
    hop[0] = False
    way = rng.integers(0, axes, (frames, ions))[..., None] == np.arange(3)
    na = grid[:ions] + ((rng.choice([-1, 1], (frames, ions)) * hop)[..., None] * way).cumsum(axis=0)
    o = np.repeat(grid[None] + 0.5, frames, axis=0)
    sites = np.concatenate([na, o], axis=1)
    shaken = sites + 0.03 * rng.standard_normal(sites.shape)
    return np.array([11] * ions + [8] * len(grid)), shaken / repeats, repeats * cell


def atoms_of(numbers, fractional, cell, wrap=True, **info):
    """ASE frames, the cell of each frame if there are several; info holds one value per frame."""
    cells = np.broadcast_to(cell, (len(fractional), 3, 3))
    frames = [
        Atoms(numbers, (coordinates % 1 if wrap else coordinates) @ one, cell=one, pbc=True)
        for coordinates, one in zip(fractional, cells, strict=True)
    ]
    for key, values in info.items():
        for frame, value in zip(frames, values, strict=True):
            frame.info[key] = value
    return frames


def vasprun_of(numbers, fractional, cell, kelvin):
    """Text of a vasprun.xml of MD with POTIM = 2 at a temperature."""
    frames, zero = atoms_of(numbers, fractional, cell), np.zeros((len(numbers), 3))
    for frame in frames:
        frame.calc = SinglePointCalculator(frame, energy=0.0, forces=zero, stress=np.zeros(6))
    text = re.sub(r'name="POTIM">[^<]*', 'name="POTIM">      2.00000000', vasprun(frames, titles=TITLES))
    return re.sub(r'name="TE(BEG|END)">[^<]*', rf'name="TE\1">    {kelvin:.8f}', text)


def write_dump(path, numbers, fractional, cell, columns, every=100, origin=(0.3, -1.0, 2.0), typed=True):
    """A LAMMPS dump of these columns as its manual describes it, atoms in another order in each frame."""
    rng, lines = np.random.default_rng(1), []
    cells = np.broadcast_to(cell, (len(fractional), 3, 3))
    for step, (coordinates, one) in enumerate(zip(fractional, cells, strict=True)):
        (lx, ly, lz), xy, xz, yz = np.diag(one), one[1, 0], one[2, 0], one[2, 1]
        low, high = np.array(origin), np.array(origin) + np.array([lx, ly, lz])
        lines += ["ITEM: TIMESTEP", f"{step * every}", "ITEM: NUMBER OF ATOMS", f"{len(numbers)}"]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp"]
        lines += [f"{low[0] + min(0, xy, xz, xy + xz)} {high[0] + max(0, xy, xz, xy + xz)} {xy}"]
        lines += [f"{low[1] + min(0, yz)} {high[1] + max(0, yz)} {xz}", f"{low[2]} {high[2]} {yz}"]
        lines += [f"ITEM: ATOMS id {'type' if typed else 'element'} {columns}"]
        image = np.floor(coordinates)
        values = {"xu": coordinates @ one + origin, "x": (coordinates - image) @ one + origin}
        values |= {"xsu": coordinates, "xs": coordinates - image, "ix": image.astype(int)}
        for atom in rng.permutation(len(numbers)):
            kind = TYPES[numbers[atom]] if typed else chemical_symbols[numbers[atom]]
            data = [str(column_value(values, name, atom)) for name in columns.split()]
            lines.append(f"{atom + 1} {kind} {' '.join(data)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def column_value(values, name, atom):
    """Value of a column such as yu, zs or iy, whose array is named by its x component."""
    axis = name[1] if name[0] == "i" else name[0]
    return values[name.replace(axis, "x")][atom]["xyz".index(axis)]
