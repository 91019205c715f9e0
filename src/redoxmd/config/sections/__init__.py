"""The typed sections, one module each: the only source of the config's keys, defaults, units and descriptions.

Defaults are the paper's (Energy Storage Materials 63, 103023, 2023) wherever it states a value. The JSON schema
(`workflow/schemas/config.schema.json`) and the documented defaults (`config/defaults.yaml`) are generated from here.
"""

from redoxmd.config.sections.aimd import Aimd, WarmUp
from redoxmd.config.sections.base import Relaxation, Repeats, Section
from redoxmd.config.sections.basins import Basins
from redoxmd.config.sections.charges import Charges
from redoxmd.config.sections.compute import Compute
from redoxmd.config.sections.config import Config, label_cells
from redoxmd.config.sections.density import DensitySettings
from redoxmd.config.sections.diffusion import Diffusion
from redoxmd.config.sections.electrons import Electrons, Moments, OxidationState
from redoxmd.config.sections.engine import (
    AseEngineSettings,
    EngineSettings,
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
from redoxmd.config.sections.neb import MAPPING, WORD, Neb, NebEvent, NebPath
from redoxmd.config.sections.pretrain import Pretrain
from redoxmd.config.sections.production import Production
from redoxmd.config.sections.select import Select
from redoxmd.config.sections.structures import Start, Structures
from redoxmd.config.sections.train import Member, Train
