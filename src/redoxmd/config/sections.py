"""One typed model per stage: the only source of the config's keys, defaults, units and descriptions.

Defaults are the paper's (Energy Storage Materials 63, 103023, 2023) wherever it states a value. The JSON schema
(`workflow/schemas/config.schema.json`) and the documented defaults (`config/defaults.yaml`) are generated from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from redoxmd.structures.content import parse_content

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
TemperatureK = Annotated[float, Field(gt=0.0, le=5000.0)]
TimestepFs = Annotated[float, Field(gt=0.0, le=5.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Repeats = tuple[Count, Count, Count]
# Mobile ions per formula unit: a number or, as text, a fraction.
Content = Annotated[
    float,
    BeforeValidator(parse_content),
    Field(ge=0.0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+/\d+$"}]}),
]


def common_kpoints(kpoints: Sequence[int], cells: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """The smallest grid (3,) of the source cell, at least `kpoints`, that every supercell divides.

    A Γ-centred grid of k divisions samples the same points as one of k/r in r repeats. One division is left alone: Γ.
    """
    multiples = [math.lcm(*repeats) for repeats in zip(*cells, strict=True)]
    a, b, c = (k if k == 1 else -(-k // m) * m for k, m in zip(kpoints, multiples, strict=True))
    return a, b, c


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Start(Section):
    """Starting structures of one concentration: one per seed."""

    x: Content = Field(description="mobile ions per formula unit: 2.5, or a fraction as text, 2/3")
    ordering: Literal["random", "preferred"] = Field(
        default="random",
        description="random: over all sites; preferred: fill the preferred site first, the rest at random",
    )
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="one structure for each ordering seed")


class Structures(Section):
    """Cells, orderings of the mobile ion, supercells, volume and initial moments."""

    source: str = Field(
        default="nvp",
        description="nvp (built in), or a CIF/POSCAR file with every site of the mobile ion; a file needs mobile_ion, "
        "redox_element, formula_units, preferred_site, moments_muB and moments_x, of which the defaults are nvp's",
    )
    mobile_ion: str = Field(default="Na", description="element whose content x varies")
    redox_element: str = Field(default="V", description="element that changes its oxidation state")
    formula_units: Count = Field(default=2, description="formula units in the source cell")
    sites: dict[str, tuple[int | str, ...]] | None = Field(
        default=None,
        description="named mobile-ion sites as atom indices (from 0) or CIF labels; null: by symmetry, as Na1, Na2, …",
    )
    preferred_site: str = Field(default="Na1", description="site that the ordering `preferred` fills first")
    volume_A3_per_fu: dict[float, Positive] | None = Field(
        default=None,
        description="cell volume per formula unit at two values of x, linear between; null: the source cell",
    )
    moments_muB: dict[str, float] = Field(
        default={"V": 2.0},
        description="initial magnetic moment by element, ferromagnetic start; zeros of ions that are low-spin at "
        "moments_x keep the spin, {}: no spin at all",
    )
    moments_x: Content = Field(default=3.0, description="value of x at which moments_muB holds")
    moment_per_ion_muB: float = Field(
        default=1.0, description="change of the total moment for each mobile ion added to the cell"
    )

    @field_validator("volume_A3_per_fu")
    @classmethod
    def _two_points(cls, value: dict[float, float] | None) -> dict[float, float] | None:
        if value is not None and len(value) != 2:
            raise ValueError(f"needs exactly two values of x to be linear in x, got {len(value)}")
        return value


class Hubbard(Section):
    """A Hubbard correction of one element (Dudarev)."""

    orbital: Literal["s", "p", "d", "f"] = Field(default="d", description="the shell it acts on")
    U_eV: float = Field(default=4.2, gt=0.0, le=20.0, description="U − J in eV")


class GpawConvergence(Section):
    """GPAW's SCF criteria."""

    energy_eV: Positive = Field(default=5e-4, description="energy per valence electron")
    density: Positive = Field(default=1e-4, description="density change per valence electron")
    eigenstates: Positive = Field(default=4e-8, description="residual of the eigenstates, eV² per electron")


class GpawMixer(Section):
    """GPAW's density mixer for spin-polarised systems (MixerDif)."""

    beta: float = Field(default=0.1, gt=0.0, le=1.0, description="share of the new density")
    history: Count = Field(default=5, description="densities remembered")
    weight: Positive = Field(default=100.0, description="damping of long-wavelength changes")


class Gpaw(Section):
    """GPAW: the embedded plane-wave engine; needs no licence."""

    cutoff_eV: float = Field(default=400.0, ge=100.0, le=2000.0, description="plane-wave cutoff")
    xc: str = Field(default="PBE", description="exchange-correlation functional")
    hubbard: dict[str, Hubbard] = Field(default={"V": Hubbard()}, description="+U by element")
    kpoints: Repeats = Field(
        default=(2, 2, 2),
        description="Γ-centred grid of the source cell, rounded up until every supercell with labels divides it, so "
        "that all labels sample the same points; 1 along an axis is Γ in every cell",
    )
    fermi_width_eV: Positive = Field(default=0.1, description="Fermi–Dirac smearing")
    mixer: GpawMixer = Field(default=GpawMixer(), description="density mixing")
    convergence: GpawConvergence = Field(default=GpawConvergence(), description="SCF criteria")
    max_iterations: Count = Field(default=150, description="SCF steps after which a frame counts as unconverged")
    density_refinement: Literal[1, 2, 4] = Field(
        default=2, description="grid refinement of the all-electron valence density"
    )


class VaspFiles(Section):
    """What becomes of VASP's large files once a result is read; those of refused results are kept aside anyway."""

    wavecar: Literal["delete", "keep"] = Field(default="delete", description="wave functions of the last step")
    chgcar: Literal["delete", "keep", "compress"] = Field(
        default="delete", description="CHGCAR of every step; its density is in the store already"
    )
    aeccar: Literal["delete", "keep", "compress"] = Field(
        default="delete", description="core and valence densities, written where engine.vasp.incar sets LAECHG"
    )
    vasprun: Literal["delete", "keep", "compress"] = Field(default="delete", description="vasprun.xml of every run")


class Vasp(Section):
    """VASP under custodian."""

    command: str = Field(default="vasp_std", description="command line that starts VASP, with its MPI launcher")
    ranks: Count = Field(default=1, description="MPI ranks that the command starts: cores of a DFT job")
    potcar_dir: str | None = Field(
        default=None, description="folder of the POTCARs; null: environment PMG_VASP_PSP_DIR or VASP_PP_PATH"
    )
    potcar_family: str = Field(default="PBE_54", description="their release, in pymatgen's words (PBE, PBE_52, PBE_54)")
    potcars: dict[str, str] = Field(default={}, description="POTCAR by element (Na: Na_pv); others as the element")
    functional: Literal["PBE", "PBEsol", "LDA", "SCAN", "R2SCAN"] = Field(default="PBE", description="GGA or METAGGA")
    cutoff_eV: float = Field(default=400.0, ge=100.0, le=2000.0, description="ENCUT")
    hubbard: dict[str, Hubbard] = Field(default={"V": Hubbard()}, description="LDAUU by element (Dudarev)")
    kpoints: Repeats = Field(
        default=(2, 2, 2), description="Γ-centred grid of the source cell; supercells divide it, rounded up"
    )
    precision: Literal["Normal", "Accurate"] = Field(default="Normal", description="PREC")
    smearing_eV: Positive = Field(default=0.05, description="width SIGMA of the Gaussian smearing (ISMEAR = 0)")
    energy_tolerance_eV: Positive = Field(default=1e-5, description="EDIFF, where the electronic steps end")
    max_iterations: Count = Field(default=100, description="NELM; a step that takes as many counts as unconverged")
    incar: dict[str, Any] = Field(
        default={}, description="further INCAR tags, taken as they are; they go before all others"
    )
    md: Literal["ase", "internal"] = Field(
        default="ase",
        description="ase: driven from outside, a single point per step, every density at hand (the paper); internal: "
        "VASP's own Langevin MD, cheaper by its extrapolated wave functions, densities by static runs",
    )
    thermostat: Literal["langevin", "nose"] = Field(
        default="langevin",
        description="of internal MD: MDALGO 3, with the friction of aimd and label, or 2, whose variable starts anew "
        "with each chunk",
    )
    nose_mass: float = Field(default=0.0, ge=0.0, description="SMASS of nose; 0: a period of 40 steps")
    md_chunk_steps: Count = Field(
        default=50, description="steps of one VASP run of internal MD: what a killed job loses at most"
    )
    timeout_s: Positive = Field(default=86_400.0, description="one VASP run that takes longer is refused (timed_out)")
    frozen_s: Positive = Field(default=3600.0, description="no output for so long counts as hanging")
    max_corrections: int = Field(default=3, ge=0, description="times custodian may mend and restart one run")
    refuse_changed: bool = Field(
        default=True, description="refuse a result whose final INCAR differs from ours in a tag that moves energies"
    )
    files: VaspFiles = Field(default=VaspFiles(), description="what is kept of each run")


class AseEngine(Section):
    """Any ASE calculator as reference: CHGNet for a rehearsal, CP2K, Quantum ESPRESSO and so on."""

    calculator: str = Field(
        default="chgnet.model.dynamics.CHGNetCalculator", description="import path of the calculator class"
    )
    keywords: dict[str, Any] = Field(default={}, description="keyword arguments of the calculator")
    requires: str | None = Field(
        default="-e '.[chgnet]'", description="arguments of pip install, told when the import fails"
    )


class Toy(Section):
    """An analytic ionic potential with a known redox density: seconds instead of days, for tests."""

    refuse_fraction: Fraction = Field(
        default=0.0, description="share of labels that pretend not to converge, chosen by geometry"
    )
    delay_s: float = Field(default=0.0, ge=0.0, description="wait per call, to look expensive")
    ranks: Count = Field(default=1, description="MPI ranks to ask for, to look parallel")


class Engine(Section):
    """The reference method and the settings of each engine; only the named one is used."""

    name: Literal["gpaw", "vasp", "ase", "toy"] = Field(default="gpaw", description="which engine")
    force_ceiling_eV_A: Positive = Field(default=100.0, description="a larger force component refuses the label")
    gpaw: Gpaw = Field(default=Gpaw(), description="settings of the engine gpaw")
    vasp: Vasp = Field(default=Vasp(), description="settings of the engine vasp")
    ase: AseEngine = Field(default=AseEngine(), description="settings of the engine ase")
    toy: Toy = Field(default=Toy(), description="settings of the engine toy")


class Aimd(Section):
    """Reference MD that starts the training set (paper: 30 runs of 500 steps)."""

    starts: tuple[Start, ...] = Field(default=(Start(x=3.0),), min_length=1, description="one run for each")
    supercell: Repeats = Field(default=(1, 1, 1), description="repeats of the source cell")
    steps: Count = Field(default=500, description="MD steps of a run")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    density_every: int = Field(default=1, ge=0, description="keep the density of every k-th frame; 0: none")


class Member(Section):
    """Size of one ensemble member (paper, Table 1)."""

    features: int = Field(default=128, ge=4, le=1024, description="width F of the node states")
    layers: int = Field(default=3, ge=1, le=12, description="interaction layers L")


class Train(Section):
    """The ensemble of equivariant potentials."""

    members: tuple[Member, ...] = Field(
        default=(
            Member(features=128, layers=3),
            Member(features=148, layers=3),
            Member(features=128, layers=4),
            Member(features=148, layers=4),
        ),
        min_length=1,
        description="hyperparameters of each member; the spread needs at least two",
    )
    datasets: tuple[Path, ...] = Field(
        default=(), description="folders with dataset.yaml joined to what the run computes (same settings only)"
    )
    test_configurations: tuple[str, ...] = Field(
        default=(), description="configuration ids held out of training altogether, for honest errors"
    )
    exclude: tuple[str, ...] = Field(
        default=(),
        description="never trained on: frames as CONFIG_ID/STEP (suspects of train/gen*/suspects.csv found wrong), or "
        "whole configurations as CONFIG_ID",
    )
    validation_configurations: tuple[str, ...] = Field(
        default=(),
        description="configuration ids used for early stopping and calibration of the spread; (): drawn by the seed",
    )
    validation_fraction: float = Field(
        default=0.01,
        gt=0.0,
        lt=0.5,
        description="share of the frames in the validation set: whole configurations until it is reached, or, with "
        "fewer than four inequivalent configurations, the last frames of each run",
    )
    folds: int = Field(
        default=0,
        ge=0,
        description="folds of a cross-validation by configuration of the last training set, one training of the first "
        "member for each; with as many folds as configurations it is leave-one-out; 0: none",
    )
    cutoff_A: float = Field(default=5.0, gt=1.0, le=12.0, description="neighbours within this distance")
    radial_functions: int = Field(default=20, ge=3, le=64, description="radial basis size")
    core_repulsion: bool = Field(
        default=True, description="add the screened nuclear repulsion between atoms closer than bonds"
    )
    rho_initial: Fraction = Field(default=0.99, description="weight ρ of the forces in the loss of generation 0")
    rho_active: Fraction = Field(default=0.9, description="weight ρ of the forces from generation 1 on")
    learning_rate: float = Field(default=1e-3, gt=0.0, lt=1.0, description="Adam, at the start")
    learning_rate_active: float = Field(
        default=1e-3, gt=0.0, lt=1.0, description="Adam, at the start of later generations"
    )
    batch_size: Count = Field(default=4, description="structures per gradient step")
    max_steps: Count = Field(default=1_000_000, description="gradient steps at most, generation 0")
    max_steps_active: Count = Field(default=300_000, description="gradient steps at most, later generations")
    validate_every: Count = Field(default=1000, description="gradient steps between validations")
    patience: Count = Field(default=50, description="validations without improvement before stopping")
    decay_factor: float = Field(default=0.5, gt=0.0, lt=1.0, description="learning rate factor on a plateau")
    decay_patience: Count = Field(default=10, description="validations without improvement before a decay")
    ema_decay: float = Field(
        default=0.999, ge=0.0, lt=1.0, description="exponential moving average of the weights; 0: none"
    )
    warm_start: bool = Field(default=True, description="start from the previous generation's weights")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU when there is one")


class Phase(Section):
    """One size of cell explored until it converges, before the next."""

    name: str = Field(default="small", pattern=r"^[a-z0-9]+$", description="short name, used in file names")
    supercell: Repeats = Field(default=(1, 1, 1), description="repeats of the source cell")
    starts: tuple[Start, ...] = Field(
        default=tuple(Start(x=x) for x in (1.0, 1.5, 2.0, 2.5, 3.0)),
        min_length=1,
        description="one run for each",
    )
    length_ps: Positive = Field(default=50.0, description="a run that lives this long has survived")


class Explore(Section):
    """Ensemble MD under the uncertainty gate."""

    phases: tuple[Phase, ...] = Field(
        default=(Phase(), Phase(name="large", supercell=(2, 2, 2))),
        min_length=1,
        description="in this order; a phase ends when the gate says converged",
    )
    low_eV_A: Positive = Field(default=1.0, description="force spread from which a frame is a candidate")
    high_eV_A: Positive = Field(default=5.0, description="force spread above which the run ends")
    statistic: Literal["max", "mean"] = Field(default="max", description="over atoms: what a frame's spread is")
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    candidate_every_fs: Positive = Field(default=10.0, description="at most one candidate per interval")
    min_distance_fraction: float = Field(
        default=0.6, gt=0.0, lt=1.0, description="closer than this fraction of the covalent radii ends the run"
    )
    max_temperature_factor: float = Field(
        default=4.0, gt=1.0, description="hotter than this times the set temperature ends the run"
    )
    trace_every_fs: Positive = Field(default=10.0, description="interval of the recorded spread and temperature")
    keep_labelled: bool = Field(
        default=True,
        description="a generation whose labels are done keeps the explore, select and gate settings it had, new ones "
        "hold from the next on; false: explore, select and label every generation anew where they differ",
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Explore:
        if self.low_eV_A >= self.high_eV_A:
            raise ValueError(
                f"low_eV_A ({self.low_eV_A:g}) must lie below high_eV_A ({self.high_eV_A:g}); the paper has 1 and 5"
            )
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases need different names, got {names}")
        return self


class Select(Section):
    """Which candidates are worth a reference calculation."""

    budget: Count = Field(default=214, description="labels per generation at most")
    duplicate_tolerance_A: Positive = Field(
        default=0.05, description="same geometry when all interatomic distances agree to about this"
    )


class Gate(Section):
    """When a generation counts as converged."""

    max_generations: int = Field(default=10, ge=1, le=1000, description="running out of them is an error")
    min_generations: int = Field(
        default=1, ge=1, description="label at least in this many generations minus one before converging"
    )
    max_candidates_per_ps: float = Field(
        default=1.0, ge=0.0, description="candidates per ps of explored time that convergence tolerates"
    )

    @model_validator(mode="after")
    def _enough_generations(self) -> Gate:
        if self.min_generations > self.max_generations:
            raise ValueError(
                f"min_generations ({self.min_generations}) exceeds max_generations ({self.max_generations})"
            )
        return self


class Label(Section):
    """A short reference MD from each selected frame (paper: 25 steps)."""

    steps: Count = Field(default=25, description="MD steps from each frame")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    density_every: int = Field(default=25, ge=0, description="keep the density of every k-th frame; 0: none")
    failure_budget: Fraction = Field(
        default=0.2, description="share of the requested labels of a generation that may be refused"
    )


class Relaxation(Section):
    """How structures are relaxed with the ensemble, at constant cell."""

    optimizer: Literal["FIRE", "LBFGS"] = Field(
        default="FIRE", description="ASE's; LBFGS takes fewer steps, FIRE bears rougher starts"
    )
    force_tolerance_eV_A: Positive = Field(default=0.05, description="largest force on an atom of a relaxed structure")
    max_relax_steps: Count = Field(default=500, description="steps after which a structure counts as not relaxed")


class Basins(Relaxation):
    """Basin hopping with the ensemble: production starts from the lowest structure found (paper, section 2.3)."""

    enabled: bool = Field(default=False, description="true: production starts from what it finds; false: as built")
    steps: Count = Field(default=100, description="hops tried from each structure")
    hop_fraction: Fraction = Field(
        default=0.5, description="share of steps that move one ion to an empty site; the others displace all ions"
    )
    displacement_A: Positive = Field(default=0.5, description="how far each ion is displaced, in a random direction")
    temperature_K: TemperatureK = Field(default=1000.0, description="of the Metropolis rule between relaxed structures")


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"has repeated values: {list(values)}")
    return values


Contents = Annotated[tuple[Content, ...], Field(min_length=1), AfterValidator(_distinct)]
TemperaturesK = Annotated[tuple[TemperatureK, ...], Field(min_length=1), AfterValidator(_distinct)]


class Trajectories(Section):
    """Trajectories beside those of the grid: another cell, to see what its size does, or another length."""

    x: Contents = Field(description="mobile ions per formula unit")
    temperatures_K: TemperaturesK = Field(description="one trajectory for each")
    replicas: Count = Field(default=1, description="starting orderings per x and temperature")
    supercell: Repeats = Field(description="repeats of the source cell")
    length_ps: Positive | None = Field(default=None, description="null: production.length_ps")


class Production(Section):
    """Nanosecond MD over concentration, temperature and replica."""

    x: Contents = Field(default=tuple(1.0 + i / 8 for i in range(17)), description="mobile ions per formula unit")
    temperatures_K: TemperaturesK = Field(default=(300.0, 400.0, 500.0, 600.0), description="one trajectory for each")
    replicas: Count = Field(default=3, description="starting orderings per x and temperature")
    ordering: Literal["random", "preferred"] = Field(default="preferred", description="as in starts")
    supercell: Repeats = Field(default=(2, 2, 2), description="repeats of the source cell")
    length_ps: Positive = Field(default=1000.0, description="trajectory length after equilibration")
    more: tuple[Trajectories, ...] = Field(
        default=(),
        description="trajectories beside that grid: [{x, temperatures_K, replicas, supercell, length_ps}, …]",
    )
    equilibration_ps: float = Field(default=5.0, ge=0.0, description="run before, not recorded")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    friction_per_fs: Positive = Field(default=0.002, description="Langevin friction")
    save_every_fs: Positive = Field(default=50.0, description="interval of the saved frames")
    stop_above_eV_A: Positive = Field(default=5.0, description="force spread that ends a trajectory")
    checkpoint_every_s: Positive = Field(default=300.0, description="wall time between restart files")

    @property
    def grids(self) -> tuple[Production | Trajectories, ...]:
        """All of x × T × replica: its own and those beside it."""
        return (self, *self.more)

    @model_validator(mode="after")
    def _each_once(self) -> Production:
        seen: set[tuple[float, float, Repeats]] = set()
        for part in self.grids:
            grid = {(x, kelvin, part.supercell) for x in part.x for kelvin in part.temperatures_K}
            if twice := seen & grid:
                x, kelvin, supercell = min(twice)
                raise ValueError(
                    f"more: x = {x:g} at {kelvin:g} K in a cell of {list(supercell)} is there already; "
                    "raise its replicas instead"
                )
            seen |= grid
        return self


class NebEvent(Section):
    """A change of site in a production trajectory, as `diffusion/events.csv` lists them."""

    x: Content = Field(description="concentration of the trajectory")
    temperature_K: TemperatureK = Field(description="its temperature")
    replica: int = Field(default=0, ge=0, description="its replica")
    number: int = Field(ge=0, description="of the change of site, column number of diffusion/events.csv")


# With tags, so that a refusal is about what was meant and not about both.
WORD, MAPPING = "(a word)", "(a mapping)"
AutoOrEvent = Annotated[
    Annotated[Literal["auto"], Tag(WORD)] | Annotated[NebEvent, Tag(MAPPING)],
    Discriminator(lambda value: WORD if isinstance(value, str) else MAPPING),
]


class NebPath(Section):
    """A path between two structures: ions move from site to site, to where a file has them, or as they did in an MD."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="short name, used in file names")
    x: Content | None = Field(
        default=None,
        description="mobile ions per formula unit; with event: auto, of the trajectories looked at, null: of all",
    )
    ordering: Literal["random", "preferred"] = Field(default="preferred", description="as in starts")
    seed: int = Field(default=0, description="of the ordering")
    moves: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="[from, to] for each ion that moves, all at once; sites are Na2:3, the fourth Na2 of the cell",
    )
    final: Path | None = Field(
        default=None, description="instead of moves: extended XYZ with the final structure, atoms in the same order"
    )
    event: AutoOrEvent | None = Field(
        default=None,
        description="instead of moves: frames before and after an event of production, in its cell; auto: the clearest "
        "one (an exchange, else neighbouring jumps, else one jump), or {x, temperature_K, replica, number}",
    )

    @model_validator(mode="after")
    def _one_end(self) -> NebPath:
        if [bool(self.moves), self.final is not None, self.event is not None].count(True) != 1:
            raise ValueError("give moves, final or event, one of them: it says where the path ends")
        if self.event is None and self.x is None:
            raise ValueError("x is missing: the path starts from a structure of this concentration")
        if isinstance(self.event, NebEvent) and self.x is not None:
            raise ValueError("x stands in event where that names a trajectory; leave the other out")
        return self


class Neb(Relaxation):
    """Barriers by climbing-image NEB with the ensemble, the reference beside it (paper, section 3.3)."""

    paths: tuple[NebPath, ...] = Field(default=(), description="one band for each; none: no such stage")
    supercell: Repeats = Field(
        default=(1, 1, 1), description="repeats of the source cell; paths of an event are in the cell of production"
    )
    images: int = Field(default=9, ge=3, le=99, description="structures along a path, both ends included")
    spring_eV_A2: Positive = Field(default=0.1, description="between neighbouring images")
    max_band_steps: Count = Field(default=1000, description="steps of the band after which it has not converged")
    reference: bool = Field(default=True, description="also a single point of the reference method on every image")
    train_phases: tuple[str, ...] = Field(
        default=(),
        description="phases of explore in whose generations the paths given by moves or final are found too: images "
        "between explore.low_eV_A and high_eV_A become candidates for labels; none: paths are found at the end only",
    )
    max_candidate_images: Fraction = Field(
        default=0.0,
        description="share of a path's images in such a generation that convergence tolerates as candidates",
    )

    @field_validator("paths")
    @classmethod
    def _different_names(cls, value: tuple[NebPath, ...]) -> tuple[NebPath, ...]:
        names = [path.name for path in value]
        if len(set(names)) != len(names):
            raise ValueError(f"need different names, got {names}")
        return value


class Density(Section):
    """The spin-density model: equivariant DeepDFT on the reference densities."""

    enabled: bool = Field(
        default=True,
        description="train it and follow the electrons; false where the reference method gives no densities",
    )
    stores: tuple[Path, ...] = Field(
        default=(),
        description="density stores (redoxmd density import) joined to those of the run and of train.datasets; of the "
        "same reference method",
    )
    test_configurations: tuple[str, ...] | None = Field(
        default=None, description="configuration ids never trained on; null: train.test_configurations"
    )
    validation_fraction: float = Field(
        default=0.1,
        gt=0.0,
        lt=0.5,
        description="share of the densities drawn for the validation set, if no validation configuration of the "
        "potentials has a density",
    )
    target: Literal["difference", "plain"] = Field(
        default="difference",
        description="difference: learn what superposed atoms lack; plain: the density itself, as in the paper",
    )
    features: int = Field(default=128, ge=8, le=1024, description="width F of atoms and probes")
    layers: int = Field(default=3, ge=1, le=12, description="interaction layers L")
    cutoff_A: float = Field(default=4.0, gt=1.0, le=12.0, description="reach of messages, to atoms and to probes")
    radial_functions: int = Field(default=20, ge=3, le=64, description="radial basis between atoms")
    probe_functions: int = Field(default=16, ge=3, le=64, description="radial basis from atoms to probes")
    multipole_reach_A: float = Field(
        default=2.5, gt=0.0, le=6.0, description="how far an atom's multipoles (up to l = 4) shape the density"
    )
    structures_per_step: Count = Field(default=2, description="densities in a gradient step")
    points_per_structure: Count = Field(default=1000, description="grid points of each")
    redox_fraction: Fraction = Field(
        default=0.5, description="share of the points drawn near atoms of the redox element; 0: all uniform"
    )
    redox_radius_A: Positive = Field(default=1.5, description="what counts as near")
    points_per_density: Count = Field(
        default=50_000, description="points of a density held in memory (2 MB), and as many near the redox element"
    )
    learning_rate: float = Field(default=1e-3, gt=0.0, lt=1.0, description="Adam, after 100 steps of warm-up")
    max_steps: Count = Field(
        default=100_000, description="gradient steps; the learning rate falls as a cosine to the end"
    )
    validate_every: Count = Field(default=500, description="gradient steps between validations")
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0, description="exponential moving average of the weights")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU when there is one")


class Charges(Section):
    """Bader charges and oxidation states, of the reference densities and along the trajectories."""

    every_fs: float = Field(default=1000.0, ge=0.0, description="interval of frames along a trajectory; 0: none")
    max_jumps: int = Field(default=4, ge=0, description="jumps of each trajectory that are looked at frame by frame")
    jump_window_fs: Positive = Field(default=500.0, description="time before and after such a jump")
    spacing_A: float = Field(
        default=0.15, gt=0.02, le=0.4, description="grid of predicted densities; beyond 0.2 Å shallow basins are lost"
    )
    region_radius_A: Positive | None = Field(
        default=2.0,
        description="ask the network this close to the redox element, superposed atoms elsewhere; null: everywhere",
    )
    exact_moment: bool = Field(
        default=False, description="scale the spin to the total moment that structures.moments_* give"
    )
    states: tuple[int, int] = Field(default=(3, 4), description="the two oxidation states of the redox element")
    ligand: str = Field(default="O", description="element bonded to the redox element")
    n_ligands: Count = Field(default=6, description="how many of them")
    low: Fraction = Field(default=0.2, description="probability of the higher state below which an atom turns lower")
    high: Fraction = Field(default=0.8, description="probability above which it turns higher; between, nothing changes")
    persistence_fs: float = Field(default=40.0, ge=0.0, description="time a new state must last to count")
    pair_window_fs: Positive = Field(default=200.0, description="largest time between both sides of an electron hop")
    hop_window_fs: Positive = Field(default=1000.0, description="largest time between a hop and its jump")

    @model_validator(mode="after")
    def _limits_in_order(self) -> Charges:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g})")
        if self.states[0] >= self.states[1]:
            raise ValueError(f"states: the lower one first, got {list(self.states)}")
        return self


class Diffusion(Section):
    """Jumps, diffusion coefficients and activation energies."""

    jump_distance_A: Positive = Field(default=3.0, description="an ion farther than this from its site has jumped")
    persistence_fs: float = Field(default=100.0, ge=0.0, description="time it must stay there to count")
    concerted_window_ps: Positive = Field(default=1.0, description="two jumps within this are concerted")
    concerted_distance_A: Positive = Field(
        default=4.0, description="concerted jumps are neighbours when sites of theirs are this close"
    )
    site_reference: Literal["source", "visited"] = Field(
        default="source", description="sites are those of the source cell, or found where the ions have been"
    )
    site_radius_A: Positive = Field(
        default=1.5,
        description="an ion this close to its nearest site is there, and has changed to it after persistence_fs",
    )
    return_fs: float = Field(
        default=1000.0, ge=0.0, description="a change of site taken back within this is rattling, not transport"
    )
    msd_fit: tuple[Fraction, Fraction] = Field(
        default=(0.1, 0.5),
        description="part of the trajectory length over which the MSD is fitted, from where it grows as time does",
    )
    van_hove_lags_ps: tuple[Positive, ...] = Field(
        default=(1.0, 10.0, 100.0),
        min_length=1,
        description="times of the van Hove functions; at most half of a trajectory, whatever stands here",
    )
    min_jumps_to_fit: Count = Field(default=2, description="points with fewer jumps are drawn as limits")
    min_temperatures_to_fit: int = Field(default=3, ge=2, description="fewer refuse the Arrhenius fit")

    @model_validator(mode="after")
    def _fit_window(self) -> Diffusion:
        if self.msd_fit[0] >= self.msd_fit[1]:
            raise ValueError(f"msd_fit must grow, got {list(self.msd_fit)}")
        return self


class Compute(Section):
    """How results are computed; none of it changes what they are worth, so nothing runs again for it."""

    evaluation: Literal["auto", "plain"] = Field(
        default="auto",
        description="auto: compiled kernels wherever they apply; plain: PyTorch only, what they are tested against",
    )
    md: Literal["host", "device"] = Field(
        default="host",
        description="of explore and production; device: pairs, integrator and gate beside the model, for a GPU",
    )
    batch: Count = Field(
        default=1,
        description="with md: device, trajectories that a production job runs side by side",
    )


class Figures(Section):
    """How figures look; changing this redraws figures and nothing else."""

    width_mm: float = Field(default=90.0, ge=40.0, le=400.0, description="column width")
    font_pt: float = Field(default=8.0, ge=4.0, le=24.0, description="font size")
    dpi: int = Field(default=200, ge=50, le=1200, description="resolution of the PNG")


class Config(Section):
    """A whole run."""

    run: str = Field(
        default="quickstart",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name of the run; everything lands in results/<run>/",
    )
    seed: int = Field(default=1, ge=0, description="root of every random choice")
    structures: Structures = Field(default=Structures(), description="stage structures")
    engine: Engine = Field(default=Engine(), description="reference method")
    aimd: Aimd = Field(default=Aimd(), description="stage aimd")
    train: Train = Field(default=Train(), description="stage train")
    explore: Explore = Field(default=Explore(), description="stage explore")
    select: Select = Field(default=Select(), description="stage select")
    gate: Gate = Field(default=Gate(), description="stage gate")
    label: Label = Field(default=Label(), description="stage label")
    basins: Basins = Field(default=Basins(), description="stage basins")
    production: Production = Field(default=Production(), description="stage production")
    neb: Neb = Field(default=Neb(), description="stage neb")
    density: Density = Field(default=Density(), description="stage density")
    charges: Charges = Field(default=Charges(), description="stage charges")
    diffusion: Diffusion = Field(default=Diffusion(), description="stage diffusion")
    figures: Figures = Field(default=Figures(), description="stage figures")
    compute: Compute = Field(default=Compute(), description="how results are computed")

    @model_validator(mode="after")
    def _across_sections(self) -> Config:
        if len(self.train.members) < 2:
            raise ValueError("train.members: one member has no spread, so the gate is blind; give at least two")
        if self.production.save_every_fs < self.production.timestep_fs:
            raise ValueError("production.save_every_fs must be at least production.timestep_fs")
        self._check_paths()
        return self

    @property
    def label_cells(self) -> list[Repeats]:
        """Supercells in which frames for training are labelled, each once."""
        cells = [self.aimd.supercell, *(phase.supercell for phase in self.explore.phases)]
        return list(dict.fromkeys([*cells, *([self.neb.supercell] if self.neb.train_phases else [])]))

    def _check_paths(self) -> None:
        """Phases and trajectories that paths name are there."""
        phases = [phase.name for phase in self.explore.phases]
        unknown = [name for name in self.neb.train_phases if name not in phases]
        if unknown:
            raise ValueError(f"neb.train_phases: no phase {unknown[0]}; explore.phases has {', '.join(phases)}")
        if self.neb.train_phases and all(path.event for path in self.neb.paths):
            raise ValueError("neb.train_phases: no path has moves or final, add one to neb.paths or leave the key out")
        made = self.production
        for path in self.neb.paths:
            event = path.event if isinstance(path.event, NebEvent) else None
            x = event.x if event else path.x if path.event else None
            if x is not None and x not in made.x:
                raise ValueError(f"neb.paths, {path.name}: no trajectory of x = {x:g}; production.x has {list(made.x)}")
            if event and (event.temperature_K not in made.temperatures_K or event.replica >= made.replicas):
                raise ValueError(
                    f"neb.paths, {path.name}, event: no trajectory at {event.temperature_K:g} K of replica "
                    f"{event.replica}; production.temperatures_K has {list(made.temperatures_K)}, "
                    f"production.replicas is {made.replicas}"
                )
