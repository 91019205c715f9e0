"""INCAR, POSCAR, KPOINTS and POTCAR as VASP reads them, with the few complaints it has about them."""

import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

INTEGERS = set(
    [
        "ISTART",
        "ICHARG",
        "ISPIN",
        "NELM",
        "NELMIN",
        "NELMDL",
        "IALGO",
        "IBRION",
        "NSW",
        "ISIF",
        "ISMEAR",
        "ISYM",
        "LORBIT",
        "NWRITE",
        "MDALGO",
        "NCORE",
        "NPAR",
        "KPAR",
        "NSIM",
        "NBANDS",
        "LDAUTYPE",
        "LDAUPRINT",
        "LMAXMIX",
        "IVDW",
        "IMIX",
        "NBLOCK",
        "KBLOCK",
        "NEDOS",
        "ISEARCH",
        "NFREE",
        "IWAVPR",
        "LDAUL",
        "RANDOM_SEED",
        "INIMIX",
        "MIXPRE",
        "MAXMIX",
    ]
)
LOGICALS = set(
    [
        "LDAU",
        "LASPH",
        "LWAVE",
        "LCHARG",
        "LAECHG",
        "LPLANE",
        "LSCALU",
        "ADDGRID",
        "KGAMMA",
        "LELF",
        "LVTOT",
        "LVHAR",
        "LHFCALC",
    ]
)
STRINGS = set(["SYSTEM", "PREC", "ALGO", "LREAL", "GGA", "METAGGA"])
# Of these VASP writes vectors, although it takes one number; in its parameters they hold the first species only.
HUBBARD = ("LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ")
LISTS = set(["MAGMOM", "LDAUL", "LDAUU", "LDAUJ", "LANGEVIN_GAMMA", "RANDOM_SEED", "RWIGS"])


class VaspStop(Exception):
    """VASP prints this and stops."""


@dataclass
class Potcar:
    title: str
    valence_e: float
    mass: float
    enmax_eV: float
    vrhfin: str

    @property
    def element(self):
        return self.title.split()[1].partition("_")[0]


@dataclass
class Poscar:
    comment: str
    cell_A: np.ndarray
    types: list
    counts: list
    fractions: np.ndarray
    velocities_A_fs: np.ndarray | None

    @property
    def symbols(self):
        return [element for element, count in zip(self.types, self.counts, strict=True) for _ in range(count)]


@dataclass
class Kpoints:
    style: str
    divisions: list
    shift: list
    points: np.ndarray = field(init=False)
    weights: np.ndarray = field(init=False)

    def __post_init__(self):
        offsets = [
            shift + (0.5 if self.style != "Gamma" and n % 2 == 0 else 0.0)
            for n, shift in zip(self.divisions, self.shift, strict=True)
        ]
        axes = [[(i + offset) / n for i in range(n)] for n, offset in zip(self.divisions, offsets, strict=True)]
        found = {}
        # Time reversal alone, as with ISYM = 0.
        for point in itertools.product(*axes):
            folded = tuple(round((x + 0.4999999) % 1 - 0.4999999, 8) for x in point)
            mirrored = tuple(round((-x + 0.4999999) % 1 - 0.4999999, 8) for x in point)
            key = mirrored if mirrored in found else folded
            found[key] = found.get(key, 0) + 1
        self.points = np.array(list(found))
        self.weights = np.array(list(found.values())) / sum(found.values())


@dataclass
class Job:
    incar: dict
    poscar: Poscar
    kpoints: Kpoints
    potcars: list
    # Words of the INCAR, which OUTCAR repeats.
    words: dict

    @property
    def electrons(self):
        counted = zip(self.potcars, self.poscar.counts, strict=True)
        return float(self.incar.get("NELECT", sum(potcar.valence_e * count for potcar, count in counted)))

    @property
    def encut_eV(self):
        return self.incar.get("ENCUT", max(potcar.enmax_eV for potcar in self.potcars))

    @property
    def spin(self):
        return self.incar.get("ISPIN", 1) == 2

    @property
    def molecular_dynamics(self):
        return self.incar.get("NSW", 0) > 0 and self.incar.get("IBRION", 0) == 0

    @property
    def steps(self):
        return self.incar["NSW"] if self.molecular_dynamics else 1


def read_job(folder):
    """Read the four files; what does not fit together stops the run as it stops VASP."""
    folder = Path(folder)
    for name in ("INCAR", "POSCAR", "POTCAR"):
        if not (folder / name).exists():
            raise VaspStop(f" ERROR: there must be {name} in the folder")
    words = read_words((folder / "INCAR").read_text())
    incar = {tag: _value(tag, value) for tag, value in words.items()}
    poscar = read_poscar((folder / "POSCAR").read_text())
    potcars = read_potcars((folder / "POTCAR").read_text())
    if [potcar.element for potcar in potcars] != poscar.types:
        raise VaspStop(" ERROR: the type information on POSCAR and POTCAR are incompatible")
    expected = {"MAGMOM": sum(poscar.counts), "LANGEVIN_GAMMA": len(potcars), "RANDOM_SEED": 3}
    expected |= dict.fromkeys(("LDAUL", "LDAUU", "LDAUJ"), len(potcars))
    for tag, count in expected.items():
        if tag in incar and len(incar[tag]) != count:
            raise VaspStop(f" Error reading item '{tag}' from file INCAR.")
    if incar.get("NSW", 0) > 0 and incar.get("IBRION", 0) not in (0, -1):
        raise VaspStop(" the stand-in does not relax")
    if incar.get("MDALGO", 0) not in (0, 3):
        raise VaspStop(" the stand-in knows MDALGO 0 and 3")
    return Job(incar, poscar, read_kpoints(folder / "KPOINTS", incar, poscar.cell_A), potcars, words)


def read_words(text):
    """Tag → what the INCAR says."""
    text = re.sub(r"\\\s*\n", " ", text)
    words = {}
    for line in itertools.chain.from_iterable(line.split(";") for line in text.splitlines()):
        line = re.split("[#!]", line)[0]
        if "=" in line:
            tag, _, value = line.partition("=")
            words[tag.strip().upper()] = value.strip()
    return words


def _value(tag, text):
    if tag == "LREAL" and text.strip(".").upper() in ("T", "TRUE", "F", "FALSE"):
        return text.strip(".").upper().startswith("T")
    if tag in STRINGS:
        return text
    if tag in LOGICALS:
        return text.strip(".").upper().startswith("T")
    number = int if tag in INTEGERS else float
    try:
        if tag not in LISTS:
            return number(text.split()[0])
        found = []
        for word in text.split():
            times, star, value = word.rpartition("*")
            found += [number(value)] * (int(times) if star else 1)
    except (ValueError, IndexError):
        raise VaspStop(f" Error reading item '{tag}' from file INCAR.") from None
    return found


def read_poscar(text):
    lines = text.splitlines()
    scale = float(lines[1])
    cell = scale * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
    types, counts = [word.partition("_")[0].partition("/")[0] for word in lines[5].split()], lines[6].split()
    counts = [int(word) for word in counts]
    first = 8 + (lines[7].strip()[:1] in "Ss")
    n = sum(counts)
    rows = np.array([line.split()[:3] for line in lines[first : first + n]], dtype=float)
    if lines[first - 1].strip()[:1] in "CcKk":
        rows = np.linalg.solve(cell.T, scale * rows.T).T
    block = lines[first + n :]
    velocities = None
    if len(block) > n and len(block[1].split()) >= 3:
        velocities = np.array([line.split()[:3] for line in block[1 : 1 + n]], dtype=float)
        if block[0].strip()[:1] in ("D", "d"):
            velocities = velocities @ cell
    return Poscar(lines[0].strip(), cell, types, counts, rows, velocities)


def read_kpoints(path, incar, cell_A):
    if not path.exists():
        lengths = 2 * math.pi * np.linalg.norm(np.linalg.inv(cell_A), axis=0)
        divisions = [max(1, math.ceil(length / incar.get("KSPACING", 0.5))) for length in lengths]
        return Kpoints("Gamma" if incar.get("KGAMMA", True) else "Monkhorst-Pack", divisions, [0.0] * 3)
    lines = path.read_text().splitlines()
    if lines[1].split()[0] != "0" or lines[2].strip()[:1] not in "GgMm":
        raise VaspStop(" the stand-in knows automatic meshes only")
    shift = [float(word) for word in lines[4].split()[:3]] if len(lines) > 4 and lines[4].strip() else [0.0] * 3
    style = "Gamma" if lines[2].strip()[:1] in "Gg" else "Monkhorst-Pack"
    return Kpoints(style, [int(word) for word in lines[3].split()[:3]], shift)


def read_potcars(text):
    found = []
    for block in text.split("End of Dataset")[:-1]:
        number = {key: float(re.search(rf"{key}\s*=\s*([\d.]+)", block)[1]) for key in ("ZVAL", "POMASS", "ENMAX")}
        title = re.search(r"TITEL\s*=\s*(.*?)\s*\n", block)[1]
        vrhfin = re.search(r"VRHFIN\s*=\s*(.*?)\s*\n", block)[1]
        found.append(Potcar(title, number["ZVAL"], number["POMASS"], number["ENMAX"], vrhfin))
    return found
