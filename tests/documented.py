"""The commands of the documentation, and the files that its pages speak of under the names that they use."""

import re
from dataclasses import dataclass
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from redoxmd.config import load_config
from redoxmd.density.exchange.chgcar import write_chgcar
from redoxmd.density.store import read_density, write_densities
from redoxmd.files.records import file_sha256, write_json
from redoxmd.runs.provenance import write_manifest
from tests.analyse.walks import CELL_A, INTERVAL_FS, atoms_of, vasprun_of, walk, write_dump
from tests.charges.test_folder import hopping
from tests.charges.test_folder import make as write_gaussians
from tests.density.test_states import planted
from tests.runs.test_provenance import MADE_FROM, write_run
from tests.standin.potcars import potcar_text

ROOT = Path(__file__).parents[1]
STATES = ROOT / "resources/nvp-states"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "resources/README.md")),
    *(ROOT / "benchmarks/materials/README.md", *sorted((ROOT / "docs").rglob("*.md"))),
]
FENCED = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL, OTHER = ("", "sh", "bash", "console"), ("yaml", "python", "mermaid", "lammps")


@dataclass(frozen=True)
class Block:
    """Commands of a block of a page, in their order, and the line at which it begins."""

    page: str
    line: int
    commands: tuple[str, ...]


def blocks_of(page, text):
    """Blocks of shell commands; those joined by `&&`, and one that a comment gives after "or:", are single commands."""
    blocks = []
    for fenced in FENCED.finditer(text):
        language, content = fenced.groups()
        assert language in (*SHELL, *OTHER), f"{page}: name the language {language} in tests/documented.py"
        if language in SHELL:
            lines = re.sub(r"\s*\\\n\s*", " ", content).splitlines()
            halves = [half for line in lines for half in re.split(r"(?:^|\s+)# or: ", line)]
            commands = [part.strip() for half in halves for part in re.sub(r"(^|\s)#.*", "", half).split(" && ")]
            blocks.append(Block(page, text[: fenced.start()].count("\n") + 1, tuple(filter(None, commands))))
    return blocks


def documented_blocks():
    """Blocks of all pages."""
    pages = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
    return [block for page, text in pages.items() for block in blocks_of(page, text)]


def frames_of(*orderings, count=4):
    """The first frames of GPAW MD of each ordering."""
    frames = read(STATES / "frames.extxyz", ":")
    chosen = ([frame for frame in frames if frame.info["config_id"] == f"{name}_1x1x1"] for name in orderings)
    return [frame for run in chosen for frame in run[:count]]


def calculations(*orderings):
    """Writes a folder with extended XYZ of GPAW MD, one folder for each ordering."""

    def write_folders(path):
        for name in orderings:
            (path / name).mkdir(parents=True)
            write(path / name / "frames.extxyz", frames_of(name))

    return write_folders


def dataset(path):
    """A dataset of two real frames of each of seven configurations, among them two that validate the quickstart."""
    names = ("x2.500_random1", "x2.000_random2", "x3.000_random2")
    names += ("x1.000_random1", "x1.500_random1", "x2.000_random1", "x2.500_random0")
    path.mkdir(parents=True)
    write(path / "frames.extxyz", frames_of(*names, count=2))
    card = yaml.safe_load((STATES / "dataset.yaml").read_text())
    card["files"] = {"frames.extxyz": file_sha256(path / "frames.extxyz")}
    (path / "dataset.yaml").write_text(yaml.safe_dump(card))


def dataset_of_a_run(path):
    """Frames that name their set, as those of a training do."""
    frames = frames_of("x2.000_random2", "x2.500_random0")
    for number, frame in enumerate(frames):
        frame.info["set"] = ("train", "validation", "test")[number % 3]
    path.parent.mkdir(parents=True)
    write(path, frames)


def shipped(name):
    """Copies a file of the resources."""

    def copy(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / "resources" / name).read_bytes())

    return copy


def layered_oxide(path):
    """Frames with on-site moments of Ni2+ and Mn4+."""
    atoms = read(ROOT / "benchmarks/materials/LiCoO2.cif").repeat((2, 1, 1))
    cobalt = np.flatnonzero(atoms.symbols == "Co")
    atoms.symbols[cobalt] = ["Ni", "Mn"] * (len(cobalt) // 2)
    moments = np.select([atoms.symbols == "Ni", atoms.symbols == "Mn"], [1.68, 3.05])
    results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "magmoms": moments}
    atoms.calc = SinglePointCalculator(atoms, **results)
    path.mkdir()
    write(path / "run.extxyz", atoms)


def config(**changes):
    """Writes the quickstart's config with other keys of these sections."""

    def write_config(path):
        text = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        path.write_text(yaml.safe_dump(text | {name: text[name] | keys for name, keys in changes.items()}))

    return write_config


def small_density_model(path):
    section = {"features": 8, "layers": 1, "max_steps": 4, "validate_every": 2, "points_per_density": 500}
    path.write_text(yaml.safe_dump({"density": section}))


def refused_label(path):
    """A label of the quickstart that was refused under other settings of the engine."""
    record = {"n_frames": 0, "attempt": "before", "refusal": {"reason": "unconverged", "detail": "", "step": 0}}
    write_json(path.parent / "results/quickstart/label/gen0/g0f000.json", record)


def half_written(run):
    """Writes what a job of a run that was killed leaves."""

    def write_half(path):
        folder = path.parent / "results" / run
        folder.mkdir(parents=True)
        (folder / ".frames.abcdefgh.extxyz").write_text("half")

    return write_half


def finished_run(path):
    """Files and records of a run of config/nvp-gpaw.yaml."""
    text = yaml.safe_dump(MADE_FROM).replace("results/a/", "results/nvp-gpaw/").replace("fig7", "fig7_diffusivity")
    made_from = {name: tuple(entry) for name, entry in yaml.load(text, yaml.UnsafeLoader).items()}
    write_run(path.parent, made_from)
    manifest, figures = (
        path.parent / "results/nvp-gpaw/manifest.json",
        [name for name in made_from if "figures" in name],
    )
    write_manifest(manifest, load_config(ROOT / "config/nvp-gpaw.yaml"), figures, path.parent)


def site_profile(path):
    """The profile that docs/clusters.md shows, of a site without GPUs."""
    profile, partitions = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/clusters.md").read_text(), re.M | re.S)[:2]
    folder = path.parent / "home/.config/snakemake/slurm"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(profile.replace("gpu: 8", "gpu: 0"))
    (folder / "partitions.yaml").write_text(partitions)


def walkers(path, symbols=("Na", "O"), rate=0.008, frames=160):
    """Numbers, coordinates and cell of ions that hop; the framework may have several elements."""
    numbers, fractional, cell = walk(frames, ions=6, rate=rate, seed=len(str(path.parent)))
    framework = np.resize(symbols[1:], (numbers == 8).sum())
    return Atoms([*[symbols[0]] * 6, *framework]).numbers, fractional, cell


def xdatcar(path):
    path.parent.mkdir(exist_ok=True)
    write(path, atoms_of(*walkers(path)))


def vasprun(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text(vasprun_of(*walkers(path), int(path.parent.name.removesuffix("K"))))


def reference_cif(path):
    write(path, Atoms("NaO", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=CELL_A, pbc=True))


def lammps_dump(path):
    write_dump(path, *walkers(path, ("Li", "P", "S")), "xu yu zu")


def gromacs(path):
    """An XTC beside the GRO of its topology, of a liquid of two kinds of particle."""
    numbers, fractional, cell = walkers(path, ("Li", "P"))
    frames = atoms_of(numbers, fractional, cell)
    universe = mda.Universe.empty(len(numbers))
    names = ["LI" if number == 3 else "PF" for number in numbers]
    for attribute, values in (("names", names), ("resnames", ["A"]), ("resids", [1])):
        universe.add_TopologyAttr(attribute, values)
    positions, box = np.array([frame.positions for frame in frames]), frames[0].cell.cellpar()
    universe.load_new(positions, dimensions=np.tile(box, (len(frames), 1)), dt=INTERVAL_FS / 1000)
    with mda.Writer(str(path), len(numbers), dt=INTERVAL_FS / 1000) as writer:
        for _ in universe.trajectory:
            writer.write(universe.atoms)
    universe.atoms.write(str(path.with_name("conf.gro")))


def hopping_chgcars(path):
    """CHGCARs of an electron that hops between two V, with their POTCAR."""
    hopping(lambda frame, *amounts: write_gaussians(path / f"CHGCAR.{frame}", *amounts))
    (path / "POTCAR").write_text("".join(potcar_text(element, e) for element, e in (("Na", 7), ("O", 6), ("V", 13))))


def gaussians(path):
    write_gaussians(path, [6.1, 11.0, 10.8, 11.1], [0.0, 1.9, 1.05, 0.0])


def chgcar_archive(path):
    """A folder for each of three CHGCARs of known charges and moments, with their POTCARs."""
    for number, name in enumerate(("x2.000", "HELD_OUT_CONFIG", "x3.000")):
        write_chgcar(path / name / "CHGCAR", planted(number)[1])
        potcars = [potcar_text(element, valence_e) for element, valence_e in (("O", 6), ("Na", 7), ("V", 13))]
        (path / name / "POTCAR").write_text("".join(potcars))


def gpaw_density():
    return read_density(STATES / "densities.h5", "x2.500_random2_1x1x1/step00000")


def chgcar_gz(path):
    write_chgcar(path, gpaw_density())


def density_store(path):
    write_densities(path, {"x2.50_o0/step00004": gpaw_density()})


def trajectory(path):
    """Twelve frames with times, of which every tenth is two."""
    frames = [planted(0)[0] for _ in range(12)]
    for number, frame in enumerate(frames):
        frame.rattle(0.02, seed=number)
        frame.info |= {"time_fs": 50.0 * number, "step": number}
    write(path, frames)


def trajectory_without_times(path):
    frames = [planted(0)[0] for _ in range(2)]
    frames[1].rattle(0.02)
    write(path, frames)
