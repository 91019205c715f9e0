from pathlib import Path

import pandas as pd

from redoxmd.basins.orderings import ordering_table
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Figures, Structures
from redoxmd.figures.orderings import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.layout import supercell_of
from redoxmd.jobs.job import job
from redoxmd.structures.source import FRAMEWORK, full_cell

with job("figures", snakemake.log[0]):
    style = Figures(**snakemake.params.style)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    visits = {Path(path).stem: pd.read_csv(path, dtype={"ordering": str}) for path in snakemake.input.visits}
    kinds = {name: full_cell(structures, supercell_of(name)).arrays["site"] for name in visits}
    sites = {name: [kind for kind in of_cell if kind != FRAMEWORK] for name, of_cell in kinds.items()}
    preferred = structures.preferred_site
    table = ordering_table(visits, sites, preferred, structures.formula_units)
    save_figure(draw(table, preferred, style), table, snakemake.params.stem, style)
