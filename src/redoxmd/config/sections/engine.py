"""Section `engine`: the reference method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Fraction, Positive, Repeats, Section


def common_kpoints(kpoints: Sequence[int], cells: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """The smallest grid (3,) of the source cell, at least `kpoints`, that every supercell divides.

    A Γ-centred grid of k divisions samples the same points as one of k/r in r repeats. One division is left alone: Γ.
    """
    multiples = [math.lcm(*repeats) for repeats in zip(*cells, strict=True)]
    a, b, c = (k if k == 1 else -(-k // m) * m for k, m in zip(kpoints, multiples, strict=True))
    return a, b, c


KpointSpacing = Annotated[float, Field(ge=0.02, le=2.0)]
SPACING = (
    "largest distance of neighbouring k-points along each reciprocal vector b of the source cell, 2π included as in "
    "VASP's KSPACING: the divisions are max(1, ⌈2π |b| / spacing⌉) in the place of kpoints; null: kpoints"
)


class Hubbard(Section):
    """A Hubbard correction of one element (Dudarev)."""

    orbital: Literal["s", "p", "d", "f"] = Field(default="d", description="orbital with the correction")
    U_eV: float = Field(default=4.2, gt=0.0, le=20.0, description="U − J in eV")


class GpawConvergence(Section):
    """GPAW's SCF criteria."""

    energy_eV: Positive = Field(default=5e-4, description="energy per valence electron")
    density: Positive = Field(default=1e-4, description="density change per valence electron")
    eigenstates: Positive = Field(default=4e-8, description="residual of the eigenstates, eV² per electron")


class GpawMixer(Section):
    """A density mixer of GPAW for spin-polarised systems."""

    method: Literal["difference", "full"] = Field(
        default="difference",
        description="difference: density and spin density have histories of their own (MixerDif); full: both spin "
        "densities have one history (MixerFull), which converges hot frames and tight criteria in fewer steps: beta "
        "0.1, history 8, weight 1",
    )
    beta: float = Field(default=0.1, gt=0.0, le=1.0, description="fraction of the new density")
    history: Count = Field(default=5, description="number of densities in the history")
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
    kpoint_spacing_1_A: KpointSpacing | None = Field(default=None, description=SPACING)
    fermi_width_eV: Positive = Field(default=0.1, description="Fermi–Dirac smearing")
    mixer: GpawMixer = Field(default=GpawMixer(), description="mixing of the spin densities")
    final_mixer: GpawMixer | None = Field(
        default=None,
        description="mixing once the spin state is found; null: as mixer",
    )
    convergence: GpawConvergence = Field(default=GpawConvergence(), description="SCF criteria")
    start_convergence: GpawConvergence | None = Field(
        default=None,
        description="stricter criteria tried for the first frame of a run, so that the d orbitals have relaxed before "
        "the nuclei move; a frame that misses them within max_iterations is accepted if it meets convergence, so that "
        "they do not enter the hash of the settings; null: none",
    )
    start_without_hubbard: bool = Field(
        default=False,
        description="converge the first SCF of a run without +U, and then with it; ends in lower orbital orders than "
        "+U from atoms in the cases tried (docs/electrons.md), but not from an ideal crystal, whose symmetry shares "
        "electrons between orbitals: use it with aimd.warm_up. Both reach solutions of one method, so that it does not "
        "enter the hash of the settings. The other way is a further start of the electrons",
    )
    fixed_moment: bool = Field(
        default=False,
        description="hold the total moment at the sum of the initial moments in every SCF, which keeps hot frames of "
        "an insulator from ending in another spin state; its local moments are checked all the same",
    )
    max_iterations: Count = Field(default=150, description="SCF steps after which a frame counts as unconverged")
    density_refinement: Literal[1, 2, 4] = Field(
        default=2, description="grid refinement of the all-electron valence density"
    )


class VaspFiles(Section):
    """Retention of VASP's large files after a result is read; those of refused results are always kept."""

    wavecar: Literal["delete", "keep"] = Field(default="delete", description="wave functions of the last step")
    chgcar: Literal["delete", "keep", "compress"] = Field(
        default="delete", description="CHGCAR of every step; its density is always in the store"
    )
    aeccar: Literal["delete", "keep", "compress"] = Field(
        default="delete", description="core and valence densities, written if engine.vasp.incar sets LAECHG"
    )
    vasprun: Literal["delete", "keep", "compress"] = Field(default="delete", description="vasprun.xml of every run")


class Vasp(Section):
    """VASP under custodian."""

    command: str = Field(default="vasp_std", description="command line that starts VASP, with its MPI launcher")
    ranks: Count = Field(default=1, description="MPI ranks that the command starts: cores of a DFT job")
    potcar_dir: str | None = Field(
        default=None, description="folder of the POTCARs; null: environment PMG_VASP_PSP_DIR or VASP_PP_PATH"
    )
    potcar_family: str = Field(
        default="PBE_54", description="release of the POTCARs, as named by pymatgen (PBE, PBE_52, PBE_54)"
    )
    potcars: dict[str, str] = Field(
        default={}, description="POTCAR by element (Na: Na_pv); by default the name of the element"
    )
    functional: Literal["PBE", "PBEsol", "LDA", "SCAN", "R2SCAN"] = Field(default="PBE", description="GGA or METAGGA")
    cutoff_eV: float = Field(default=400.0, ge=100.0, le=2000.0, description="ENCUT")
    hubbard: dict[str, Hubbard] = Field(default={"V": Hubbard()}, description="LDAUU by element (Dudarev)")
    kpoints: Repeats = Field(
        default=(2, 2, 2), description="Γ-centred grid of the source cell; supercells divide it, rounded up"
    )
    kpoint_spacing_1_A: KpointSpacing | None = Field(default=None, description=SPACING)
    precision: Literal["Normal", "Accurate"] = Field(default="Normal", description="PREC")
    smearing_eV: Positive = Field(default=0.05, description="width SIGMA of the Gaussian smearing (ISMEAR = 0)")
    energy_tolerance_eV: Positive = Field(
        default=1e-5, description="EDIFF, convergence criterion of the electronic steps"
    )
    max_iterations: Count = Field(default=100, description="NELM; a step that needs this many is unconverged")
    incar: dict[str, Any] = Field(
        default={}, description="further INCAR tags, used unchanged; they override all generated tags"
    )
    md: Literal["ase", "internal"] = Field(
        default="ase",
        description="ase: MD by ASE, a single point per step, with the density of every step (the paper); internal: "
        "MD by VASP, cheaper because wave functions are extrapolated, densities from static runs",
    )
    thermostat: Literal["langevin", "nose"] = Field(
        default="langevin",
        description="thermostat of internal MD: langevin (MDALGO 3) with the friction of aimd and label, or nose "
        "(MDALGO 2), whose variable is reset at each chunk",
    )
    nose_mass: float = Field(default=0.0, ge=0.0, description="SMASS of nose; 0: a period of 40 steps")
    md_chunk_steps: Count = Field(
        default=50, description="steps of one VASP run of internal MD; a killed job repeats at most these"
    )
    timeout_s: Positive = Field(default=86_400.0, description="one VASP run that takes longer is refused (timed_out)")
    frozen_s: Positive = Field(default=3600.0, description="a run without output for this long is taken as hanging")
    max_corrections: int = Field(
        default=3, ge=0, description="number of times that custodian may correct and restart one run"
    )
    refuse_changed: bool = Field(
        default=True,
        description="refuse a result whose final INCAR differs from the requested one in a tag that changes energies",
    )
    files: VaspFiles = Field(default=VaspFiles(), description="files kept of each run")


class AseEngineSettings(Section):
    """Any ASE calculator as reference: CHGNet for a rehearsal, CP2K, Quantum ESPRESSO and so on."""

    calculator: str = Field(
        default="chgnet.model.dynamics.CHGNetCalculator", description="import path of the calculator class"
    )
    keywords: dict[str, Any] = Field(default={}, description="keyword arguments of the calculator")
    requires: str | None = Field(
        default="-e '.[chgnet]'", description="arguments of pip install, shown if the import fails"
    )


class Toy(Section):
    """An analytic ionic potential with a known redox density: seconds instead of days, for tests."""

    refuse_fraction: Fraction = Field(
        default=0.0, description="share of labels that are reported as unconverged, chosen by geometry (for tests)"
    )
    two_state: bool = Field(
        default=False,
        description="V3+ and V4+ with energies, forces and stress of their own, in the state that is asked for, or the "
        "lowest; false: energies do not depend on the states (for tests)",
    )
    wrong_state_fraction: Fraction = Field(
        default=0.0,
        description="with two_state, share of labels that end in another state than the one asked for: one V4+ less, "
        "a hole on oxygen; chosen by geometry and state (for tests)",
    )
    delay_s: float = Field(default=0.0, ge=0.0, description="waiting time per call (for tests)")
    ranks: Count = Field(default=1, description="MPI ranks to request (for tests)")

    @model_validator(mode="after")
    def _wrong_states_need_states(self) -> Toy:
        if self.wrong_state_fraction and not self.two_state:
            raise ValueError("wrong_state_fraction needs two_state: true")
        return self


class EngineSettings(Section):
    """The reference method and the settings of each engine; only the named one is used."""

    name: Literal["gpaw", "vasp", "ase", "toy"] = Field(default="gpaw", description="engine of all labels")
    force_ceiling_eV_A: Positive = Field(default=100.0, description="a label with a larger force component is refused")
    gpaw: Gpaw = Field(default=Gpaw(), description="settings of the engine gpaw")
    vasp: Vasp = Field(default=Vasp(), description="settings of the engine vasp")
    ase: AseEngineSettings = Field(default=AseEngineSettings(), description="settings of the engine ase")
    toy: Toy = Field(default=Toy(), description="settings of the engine toy")

    @model_validator(mode="after")
    def _one_grid(self) -> EngineSettings:
        for name, section in (("gpaw", self.gpaw), ("vasp", self.vasp)):
            if section.kpoint_spacing_1_A is not None and "kpoints" in section.model_fields_set:
                raise ValueError(f"{name}.kpoints and {name}.kpoint_spacing_1_A exclude each other; remove one of them")
        return self
