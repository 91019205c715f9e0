from redoxmd.config.sections import Figures
from redoxmd.figures.gate_timeline import draw
from redoxmd.figures.save import save_figure
from redoxmd.gate import Decision
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import run_table, trace_table

with job("figures", snakemake.log[0]):
    style, caption = Figures(**snakemake.params.style), snakemake.params.caption
    ends = run_table([Decision.read(path) for path in snakemake.input.decisions])
    traces = trace_table(snakemake.input.traces)
    figure = draw(traces, ends, caption["low"], caption["high"], style)
    save_figure(figure, traces, snakemake.params.stem, style)
