import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.density_errors import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    errors, history = (pd.read_csv(path) for path in (snakemake.input.errors, snakemake.input.history))
    save_figure(draw(errors, history, settings), errors, snakemake.params.stem, settings)
