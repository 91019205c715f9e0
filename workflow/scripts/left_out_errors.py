import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.left_out_errors import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    errors = pd.concat([pd.read_csv(path) for path in snakemake.input.folds], ignore_index=True)
    errors = errors.sort_values("config_id", ignore_index=True)
    save_figure(draw(errors, settings), errors, snakemake.params.stem, settings)
