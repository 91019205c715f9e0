import pandas as pd

from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Select
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job, logger
from redoxmd.model.ensemble import load_ensemble
from redoxmd.select import REFUSAL_COLUMNS, refuse_held_out, select
from redoxmd.train.records import DatasetRecord

with job("select", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    settings = read_settings(Select, snakemake.rule, snakemake.params.select)
    files = [*snakemake.input.candidates, *snakemake.input.bands]
    candidates = [frame for path in files for frame in read_frames(path)]
    ensemble = load_ensemble(snakemake.input.ensemble, "cpu", runtime.compute.evaluation)
    configurations = DatasetRecord.read(snakemake.input.record).configurations
    held_out = {item.group: item.set for item in configurations if item.set in ("test", "validation")}
    allowed, refused = refuse_held_out(candidates, held_out, runtime.structures)
    labelled = read_frames(snakemake.input.dataset)
    selection = select(allowed, labelled, ensemble, settings, int(snakemake.wildcards.gen))
    logger.info("%d of %d candidates selected", len(selection.frames), len(candidates))
    write_frames(snakemake.output.selected, selection.frames)
    with atomic_path(snakemake.output.refused) as temporary:
        pd.DataFrame([*refused, *selection.refused], columns=REFUSAL_COLUMNS).to_csv(temporary, index=False)
