import pandas as pd
from ase.data import atomic_numbers

from redoxmd.config.declared import read_settings
from redoxmd.config.sections import DensitySettings
from redoxmd.density.dataset import DensitySet
from redoxmd.density.model import load_density_model, save_density_model
from redoxmd.density.training import train_density
from redoxmd.files.records import atomic_path, file_sha256, read_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_seed

with job("density", snakemake.log[0], snakemake.threads):
    settings = read_settings(DensitySettings, snakemake.rule, snakemake.params.density)
    index = DensitySet.from_record(read_json(snakemake.input.index))
    data = file_sha256(snakemake.input.index)
    seed = derive_seed(snakemake.params.seed, "density")
    fingerprint = [data, dict(snakemake.params.density), seed, snakemake.params.get("version", 1)]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    if model_file := snakemake.input.get("given"):
        model, metadata = load_density_model(model_file, "cpu")
    else:
        redox = atomic_numbers[snakemake.params.redox]
        result = train_density(index.subset("train"), index.subset("validation"), redox, settings, seed, checkpoint)
        model, metadata = result.model, {"dataset": data, "history": result.history, "best_step": result.best_step}
    save_density_model(snakemake.output.model, model, metadata)
    with atomic_path(snakemake.output.history) as temporary:
        pd.DataFrame(metadata["history"]).to_csv(temporary, index=False)
    checkpoint.clear()
