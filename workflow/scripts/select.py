import pandas as pd

from redoxmd.config import parse_config, with_settings
from redoxmd.frames import read_frames, write_frames
from redoxmd.job import job, logger
from redoxmd.model.ensemble import load_ensemble
from redoxmd.records import atomic_path
from redoxmd.select import REFUSAL_COLUMNS, select

with job("select", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    files = [*snakemake.input.candidates, *snakemake.input.bands]
    candidates = [frame for path in files for frame in read_frames(path)]
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    known = read_frames(snakemake.input.dataset)
    selection = select(
        candidates, known, ensemble, with_settings(config.select, snakemake.params.select), int(snakemake.wildcards.gen)
    )
    logger.info("%d of %d candidates selected", len(selection.frames), len(candidates))
    write_frames(snakemake.output.selected, selection.frames)
    with atomic_path(snakemake.output.refused) as temporary:
        pd.DataFrame(selection.refused, columns=REFUSAL_COLUMNS).to_csv(temporary, index=False)
