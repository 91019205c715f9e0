import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.moment_network import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    states, errors = (pd.read_csv(snakemake.input[name]) for name in ("states", "errors"))
    save_figure(draw(states, errors, settings), states, snakemake.params.stem, settings)
