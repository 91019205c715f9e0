"""Section `engine`: the reference method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from redoxmd.config.sections.base import Count, Fraction, Positive, Repeats, Section


def common_kpoints(kpoints: Sequence[int], cells: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """The smallest grid (3,) of the source cell, at least `kpoints`, that every supercell divides.

    A Γ-centred grid of k divisions samples the same points as one of k/r in r repeats. One division is left alone: Γ.
    """
    multiples = [math.lcm(*repeats) for repeats in zip(*cells, strict=True)]
    a, b, c = (k if k == 1 else -(-k // m) * m for k, m in zip(kpoints, multiples, strict=True))
    return a, b, c


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
    """Retention of VASP's large files after a result is read; those of refused results are always kept."""

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
        default={}, description="further INCAR tags, used unchanged; they override all generated tags"
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
