from redoxmd.config.declared import runtime_settings
from redoxmd.density.dataset import DensitySet
from redoxmd.density.evaluation import density_errors, evaluation_subset, slices_through_redox
from redoxmd.density.model import load_density_model
from redoxmd.files.records import atomic_path, read_json, write_json
from redoxmd.jobs.job import job, logger

with job("density", snakemake.log[0], snakemake.threads):
    index = DensitySet.from_record(read_json(snakemake.input.index))
    model, _ = load_density_model(snakemake.input.model, runtime_settings(snakemake.config).density.device)
    errors = density_errors(model, evaluation_subset(index, 30, snakemake.params.seed), snakemake.params.seed)
    for name, group in errors.groupby("set"):
        means = group[["nmae_total_percent", "nmae_spin_percent"]].mean()
        logger.info("%s: NMAE %.2f %% (total), %.1f %% (spin), %d densities", name, *means, len(group))
    write_json(snakemake.output.slices, slices_through_redox(model, index, snakemake.params.redox))
    with atomic_path(snakemake.output.errors) as temporary:
        errors.to_csv(temporary, index=False)
