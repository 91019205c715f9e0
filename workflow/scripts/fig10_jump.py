import pandas as pd
import xarray as xr

from redoxmd.charges.event import show_best_jump
from redoxmd.config import parse_config
from redoxmd.figures.fig10_jump import draw
from redoxmd.figures.save import save_figure
from redoxmd.job import job
from redoxmd.records import read_json
from redoxmd.trajectory import read_trajectory

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    charges, jumps = (
        [xr.load_dataset(path, engine="h5netcdf") for path in paths]
        for paths in (snakemake.input.charges, snakemake.input.jumps)
    )
    event = show_best_jump(
        charges,
        jumps,
        lambda number: read_trajectory(snakemake.input.trajectories[number]),
        read_json(snakemake.input.mixture),
        config.structures,
        config.charges,
    )
    figure = draw(event.series, event.displacements, event.snapshots, config.figures, event.events)
    data = pd.concat([event.series.assign(kind="redox"), event.displacements.assign(kind="ion")], ignore_index=True)
    save_figure(figure, data, snakemake.params.stem, config.figures)
