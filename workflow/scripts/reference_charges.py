from redoxmd.charges.tables import reference_charges
from redoxmd.config.declared import runtime_settings
from redoxmd.density.dataset import DensitySet
from redoxmd.density.evaluation import evaluation_subset
from redoxmd.density.model import load_density_model
from redoxmd.files.records import atomic_path, read_json
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0], snakemake.threads):
    index = DensitySet.from_record(read_json(snakemake.input.index))
    model, _ = load_density_model(snakemake.input.model, runtime_settings(snakemake.config).density.device)
    chosen = evaluation_subset(index, 100, snakemake.params.seed)
    table = reference_charges(model, chosen, snakemake.params.spacing_A)
    with atomic_path(snakemake.output.charges) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
