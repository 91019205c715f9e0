from redoxmd.config import parse_config
from redoxmd.diffusion.mechanism import event_frames, find_event, no_event_reason
from redoxmd.figures.fig5_exchange import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    analyses = [read_dataset(path) for path in snakemake.input.analyses]
    event = find_event(analyses, lambda number: read_trajectory(snakemake.input.trajectories[number]), config.diffusion)
    figure = draw(event, config.figures, no_event_reason(analyses))
    save_figure(figure, event_frames(event), snakemake.params.stem, config.figures)
