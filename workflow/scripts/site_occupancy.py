import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.save import save_figure
from redoxmd.figures.site_occupancy import draw
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    occupancy, sites = (pd.read_csv(path) for path in (snakemake.input.occupancy, snakemake.input.sites))
    plotted = pd.concat([occupancy.assign(panel="a"), sites.assign(panel="b")])
    save_figure(draw(occupancy, sites, settings), plotted, snakemake.params.stem, settings)
