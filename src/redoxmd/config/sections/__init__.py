"""The typed sections, one module each: the only source of the config's keys, defaults, units and descriptions.

Defaults are the paper's (Energy Storage Materials 63, 103023, 2023) wherever it states a value. The JSON schema
(`workflow/schemas/config.schema.json`) and the documented defaults (`config/defaults.yaml`) are generated from here.
"""

from redoxmd.config.sections.aimd import Aimd
from redoxmd.config.sections.base import Content, Count, Fraction, Positive, Repeats, Section, TemperatureK, TimestepFs
from redoxmd.config.sections.basins import Basins
from redoxmd.config.sections.charges import Charges
from redoxmd.config.sections.compute import Compute
from redoxmd.config.sections.config import Config, label_cells
from redoxmd.config.sections.density import Density
from redoxmd.config.sections.diffusion import Diffusion
from redoxmd.config.sections.engine import (
    AseEngine,
    Engine,
    Gpaw,
    GpawConvergence,
    GpawMixer,
    Hubbard,
    Toy,
    Vasp,
    VaspFiles,
    common_kpoints,
)
from redoxmd.config.sections.explore import Explore, Phase
from redoxmd.config.sections.figures import Figures
from redoxmd.config.sections.gate import Gate
from redoxmd.config.sections.label import Label
from redoxmd.config.sections.neb import MAPPING, WORD, AutoOrEvent, Neb, NebEvent, NebPath
from redoxmd.config.sections.production import Contents, Production, TemperaturesK, Trajectories
from redoxmd.config.sections.relaxation import Relaxation
from redoxmd.config.sections.select import Select
from redoxmd.config.sections.structures import Start, Structures
from redoxmd.config.sections.train import Member, Train

__all__ = [
    "MAPPING",
    "WORD",
    "Aimd",
    "AseEngine",
    "AutoOrEvent",
    "Basins",
    "Charges",
    "Compute",
    "Config",
    "Content",
    "Contents",
    "Count",
    "Density",
    "Diffusion",
    "Engine",
    "Explore",
    "Figures",
    "Fraction",
    "Gate",
    "Gpaw",
    "GpawConvergence",
    "GpawMixer",
    "Hubbard",
    "Label",
    "Member",
    "Neb",
    "NebEvent",
    "NebPath",
    "Phase",
    "Positive",
    "Production",
    "Relaxation",
    "Repeats",
    "Section",
    "Select",
    "Start",
    "Structures",
    "TemperatureK",
    "TemperaturesK",
    "TimestepFs",
    "Toy",
    "Train",
    "Trajectories",
    "Vasp",
    "VaspFiles",
    "common_kpoints",
    "label_cells",
]
