from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion, Figures
from redoxmd.diffusion.mechanism import event_frames, find_event, no_event_reason
from redoxmd.figures.fig5_exchange import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style = Figures(**snakemake.params.style)
    settings = read_settings(Diffusion, snakemake.rule, snakemake.params.diffusion)
    analyses = [read_dataset(path) for path in snakemake.input.analyses]
    event = find_event(analyses, lambda number: read_trajectory(snakemake.input.trajectories[number]), settings)
    figure = draw(event, style, no_event_reason(analyses))
    save_figure(figure, event_frames(event), snakemake.params.stem, style)
