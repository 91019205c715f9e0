from redoxmd.config.sections import Figures
from redoxmd.figures.calibration import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.records import read_json
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import calibration_tables

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    caption = snakemake.params.caption
    tables = calibration_tables(read_json(snakemake.input.ensemble), caption["statistic"], caption["coverage"])
    save_figure(draw(*tables, settings), tables[1], snakemake.params.stem, settings)
