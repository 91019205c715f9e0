"""The typed sections, one module each: the only source of the config's keys, defaults, units and descriptions.

Defaults are the paper's (Energy Storage Materials 63, 103023, 2023) wherever it states a value. The JSON schema
(`workflow/schemas/config.schema.json`) and the documented defaults (`config/defaults.yaml`) are generated from here.
"""

from redoxmd.config.sections.aimd import Aimd as Aimd
from redoxmd.config.sections.base import Relaxation as Relaxation
from redoxmd.config.sections.base import Repeats as Repeats
from redoxmd.config.sections.base import Section as Section
from redoxmd.config.sections.basins import Basins as Basins
from redoxmd.config.sections.charges import Charges as Charges
from redoxmd.config.sections.compute import Compute as Compute
from redoxmd.config.sections.config import Config as Config
from redoxmd.config.sections.config import label_cells as label_cells
from redoxmd.config.sections.density import Density as Density
from redoxmd.config.sections.diffusion import Diffusion as Diffusion
from redoxmd.config.sections.engine import AseEngine as AseEngine
from redoxmd.config.sections.engine import Engine as Engine
from redoxmd.config.sections.engine import Gpaw as Gpaw
from redoxmd.config.sections.engine import GpawConvergence as GpawConvergence
from redoxmd.config.sections.engine import Hubbard as Hubbard
from redoxmd.config.sections.engine import Toy as Toy
from redoxmd.config.sections.engine import Vasp as Vasp
from redoxmd.config.sections.engine import VaspFiles as VaspFiles
from redoxmd.config.sections.engine import common_kpoints as common_kpoints
from redoxmd.config.sections.explore import Explore as Explore
from redoxmd.config.sections.explore import Phase as Phase
from redoxmd.config.sections.figures import Figures as Figures
from redoxmd.config.sections.gate import Gate as Gate
from redoxmd.config.sections.label import Label as Label
from redoxmd.config.sections.neb import MAPPING as MAPPING
from redoxmd.config.sections.neb import WORD as WORD
from redoxmd.config.sections.neb import Neb as Neb
from redoxmd.config.sections.neb import NebEvent as NebEvent
from redoxmd.config.sections.neb import NebPath as NebPath
from redoxmd.config.sections.production import Production as Production
from redoxmd.config.sections.select import Select as Select
from redoxmd.config.sections.structures import Start as Start
from redoxmd.config.sections.structures import Structures as Structures
from redoxmd.config.sections.train import Member as Member
from redoxmd.config.sections.train import Train as Train
