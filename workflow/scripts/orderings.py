from pathlib import Path

import pandas as pd

from redoxmd.basins.orderings import ordering_table
from redoxmd.config import parse_config
from redoxmd.figures.orderings import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.layout import supercell_of
from redoxmd.jobs.job import job
from redoxmd.structures.source import FRAMEWORK, full_cell

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    visits = {Path(path).stem: pd.read_csv(path, dtype={"ordering": str}) for path in snakemake.input.visits}
    kinds = {name: full_cell(config.structures, supercell_of(name)).arrays["site"] for name in visits}
    sites = {name: [kind for kind in of_cell if kind != FRAMEWORK] for name, of_cell in kinds.items()}
    preferred = config.structures.preferred_site
    table = ordering_table(visits, sites, preferred, config.structures.formula_units)
    save_figure(draw(table, preferred, config.figures), table, snakemake.params.stem, config.figures)
