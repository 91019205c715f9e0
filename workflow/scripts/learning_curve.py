import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.learning_curve import PRETRAINED, draw, generation_name
from redoxmd.figures.save import save_figure
from redoxmd.gate import Decision
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import error_table, run_table
from redoxmd.train.records import EnsembleRecord

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    errors = error_table([EnsembleRecord.read(path) for path in snakemake.input.ensembles])
    if path := snakemake.input.get("pretrained"):
        errors = pd.concat([pd.read_csv(path).assign(generation=PRETRAINED), errors], ignore_index=True)
    runs = run_table([Decision.read(path) for path in snakemake.input.decisions])
    named = errors.assign(
        member=errors["member"].map(lambda member: "ensemble" if member == -1 else str(member)),
        generation=errors["generation"].map(generation_name),
    )
    data = pd.concat([named.assign(kind="errors"), runs.assign(kind="runs")], ignore_index=True)
    save_figure(draw(errors, runs, settings), data, snakemake.params.stem, settings)
