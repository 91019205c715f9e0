from redoxmd.config.sections import Figures
from redoxmd.figures.calibration import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.records import read_json
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import calibration_tables

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    curves, bins, areas = calibration_tables(read_json(snakemake.input.ensemble))
    save_figure(draw(curves, bins, areas, settings), bins, snakemake.params.stem, settings)
