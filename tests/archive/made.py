"""Vasprun files of any frames and settings, made from a real one, and MD whose energies and forces belong together."""

import lzma
import re
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

DATA = Path(__file__).parents[1] / "data" / "vasp"
TITLES = {"Al": "PAW_PBE Al 04Jan2001", "Cu": "PAW_PBE Cu 22Jun2005"}
BASE = {
    "cutoff_eV": 300.0,
    "ispin": 1,
    "gga": "--",
    "u_eV": 4.0,
    "titles": TITLES,
    "kpoints": (4, 4, 4),
    "ibrion": 0,
    "isif": 2,
}
KBAR_PER_EV_A3 = 1602.1766208


@cache
def real(folder: str, name: str) -> str:
    """Text of a real file, however it is kept."""
    for path in sorted((DATA / folder).glob(f"{name}*")):
        opener = {".xz": lzma.open}.get(path.suffix, open)
        with opener(path, "rt") as stream:
            return stream.read()
    raise FileNotFoundError(DATA / folder / name)


def md(seed: int, steps: int = 20, every: int = 1) -> list[Atoms]:
    """Frames of EMT MD of a hot Al-Cu crystal at 1 fs, 8 atoms, labelled."""
    atoms = bulk("Al", cubic=True).repeat((2, 1, 1))
    atoms.symbols = "AlCuAlCuAlAlCuCu"
    rng = np.random.default_rng(seed)
    atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    MaxwellBoltzmannDistribution(atoms, temperature_K=900, rng=rng)
    Stationary(atoms)
    atoms.calc = EMT()
    moving, frames = VelocityVerlet(atoms, timestep=units.fs), []
    for _ in range(steps):
        frames.append(frozen(atoms))
        moving.run(every)
    return frames


def frozen(atoms: Atoms) -> Atoms:
    """A copy with its results, as a file would have them."""
    order = np.argsort(atoms.symbols, kind="stable")
    copy = Atoms(atoms.symbols[order], atoms.positions[order], cell=atoms.cell, pbc=True)
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces()[order],
        "stress": atoms.get_stress(),
    }
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def vasprun(frames: list[Atoms], unconverged=(), **changed) -> str:
    """A vasprun.xml of these frames; `unconverged` steps reach NELM with energies that still move."""
    settings = BASE | changed
    body = "".join(calculation(frame, step in unconverged) for step, frame in enumerate(frames))
    return header(frames[0], settings) + body + "</modeling>\n"


def header(atoms: Atoms, settings: dict) -> str:
    """The head of the real file with other atoms and tags."""
    text = real("converged", "vasprun.xml").partition(" <calculation>")[0]
    symbols = list(dict.fromkeys(atoms.symbols))
    u_eV = [settings["u_eV"] if symbol == "Cu" else 0.0 for symbol in symbols]
    shells = [2 if symbol == "Cu" else -1 for symbol in symbols]
    replacements = (
        (r'name="ENCUT"> *[\d.]+', f'name="ENCUT"> {settings["cutoff_eV"]:.8f}'),
        (r'name="ENMAX"> *[\d.]+', f'name="ENMAX"> {settings["cutoff_eV"]:.8f}'),
        (r'name="IBRION"> *-?\d+', f'name="IBRION"> {settings["ibrion"]}'),
        (r'name="ISIF"> *\d', f'name="ISIF"> {settings["isif"]}'),
        (r'name="ISPIN"> *\d', f'name="ISPIN"> {settings["ispin"]}'),
        (r'name="GGA">--', f'name="GGA">{settings["gga"]}'),
        (r" </incar>\n", hubbard(shells, u_eV) + " </incar>\n"),
        # In its parameters VASP lists the first species only.
        (r' *<i type="logical" name="LDAU"> F  </i>\n', hubbard(shells[:1], u_eV[:1])),
        (r'name="divisions">[ \d]+', 'name="divisions"> {} {} {} '.format(*settings["kpoints"])),
        (r"(?s) <atominfo>.*</atominfo>\n", atominfo(atoms, settings["titles"])),
        (r'(?s) <structure name="initialpos" >.*?</structure>\n', structure(atoms, ' name="initialpos" ')),
    )
    for pattern, new in replacements:
        text, count = re.subn(pattern, lambda _, new=new: new, text)
        assert count, pattern
    return text


def hubbard(shells: list[int], u_eV: list[float]) -> str:
    """+U of Dudarev, as VASP 5.2 to 6 write it."""
    return (
        '  <i type="logical" name="LDAU"> T  </i>\n  <v type="int" name="LDAUTYPE">     2</v>\n'
        f'  <v type="int" name="LDAUL">{"".join(f"{shell:6d}" for shell in shells)}</v>\n'
        f'  <v name="LDAUU">{"".join(f"{u:16.8f}" for u in u_eV)}</v>\n'
        f'  <v name="LDAUJ">{"".join(f"{0:16.8f}" for _ in u_eV)}</v>\n'
    )


def atominfo(atoms: Atoms, titles: dict[str, str]) -> str:
    """Atoms and their potentials, in VASP's form."""
    symbols = list(dict.fromkeys(atoms.symbols))
    rows = "".join(f"    <rc><c>{s:2}</c><c>{symbols.index(s) + 1:4}</c></rc>\n" for s in atoms.symbols)
    types = "".join(
        f"    <rc><c>{list(atoms.symbols).count(s):4}</c><c>{s:2}</c><c>     26.98000000</c><c>      1.00000000</c>"
        f"<c>  {titles[s]:38}</c></rc>\n"
        for s in symbols
    )
    return (
        f" <atominfo>\n  <atoms>{len(atoms):8} </atoms>\n  <types>{len(symbols):8} </types>\n"
        f'  <array name="atoms" >\n   <set>\n{rows}   </set>\n  </array>\n'
        f'  <array name="atomtypes" >\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
    )


def structure(atoms: Atoms, name: str = "") -> str:
    """Cell and positions."""
    return (
        f" <structure{name}>\n  <crystal>\n{varray('basis', np.asarray(atoms.cell), 3)}  </crystal>\n"
        f"{varray('positions', atoms.get_scaled_positions(wrap=False), 2)} </structure>\n"
    )


def varray(name: str, rows: np.ndarray, indent: int) -> str:
    """Vectors in VASP's form."""
    pad = " " * indent
    lines = "".join(f"{pad} <v> {x:16.8f} {y:16.8f} {z:16.8f} </v>\n" for x, y, z in rows)
    return f'{pad}<varray name="{name}" >\n{lines}{pad}</varray>\n'


def energies(energy_eV: float, indent: int) -> str:
    """An energy block; no entropy."""
    pad = " " * indent
    rows = "".join(f'{pad} <i name="{n}">{energy_eV:16.8f} </i>\n' for n in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
    return f"{pad}<energy>\n{rows}{pad}</energy>\n"


def calculation(frame: Atoms, unconverged: bool = False) -> str:
    """An ionic step."""
    results = frame.calc.results
    energy = results["energy"]
    # NELM of the real file is 20, its EDIFF 1e-6.
    loop = [energy + 1e-3 * k for k in range(20, 0, -1)] if unconverged else [energy + 0.1, energy, energy]
    steps = "".join(f"  <scstep>\n{energies(value, 3)}  </scstep>\n" for value in loop)
    stress = varray("stress", -frame.get_stress(voigt=False) * KBAR_PER_EV_A3, 2)
    return (
        f" <calculation>\n{steps}{structure(frame)}{varray('forces', results['forces'], 2)}{stress}"
        f"{energies(energy, 2)} </calculation>\n"
    )
