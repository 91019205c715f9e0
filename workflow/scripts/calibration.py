from redoxmd.config.sections import Figures
from redoxmd.figures.calibration import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import calibration_tables
from redoxmd.train.records import EnsembleRecord

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    caption = snakemake.params.caption
    ensemble = EnsembleRecord.read(snakemake.input.ensemble)
    tables = calibration_tables(ensemble, caption["statistic"], caption["coverage"])
    save_figure(draw(*tables, settings), tables[1], snakemake.params.stem, settings)
