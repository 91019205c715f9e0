# redoxmd: from DFT molecular dynamics to nanosecond dynamics with electrons.
# The rule files below read in the order of the paper's loop; each holds one stage.

import sys

from snakemake.utils import min_version

from redoxmd.gate import lost_decisions
from redoxmd.runs.job_records import lost_results, refuse_unrecorded

min_version("9.0")

# Another run: `snakemake --configfile config/nvp.yaml`. It replaces this file rather than mixing with it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/neb_inputs.smk"
include: "rules/structures.smk"
include: "rules/aimd.smk"
include: "rules/train.smk"
include: "rules/explore.smk"
include: "rules/select.smk"
include: "rules/gate.smk"
include: "rules/label.smk"
include: "rules/basins.smk"
include: "rules/production.smk"
include: "rules/diffusion.smk"
include: "rules/neb.smk"
include: "rules/density.smk"
include: "rules/charges.smk"
include: "rules/figures.smk"


# Seconds of one core on small tables: not worth a job of a cluster.
localrules:
    all,
    loop,
    structure,
    gate,
    labels,
    oxidation,
    diffusion,
    neb_event,
    neb_profiles,
    summary,
    learning_curve,
    gate_timeline,
    fig3a_errors,
    calibration,
    left_out_errors,
    fig3b_bader,
    fig4_neb,
    fig5_exchange,
    fig3c_histogram,
    fig6_concerted,
    fig7_diffusivity,
    fig8_arrhenius,
    fig9_jumps_vs_msd,
    site_occupancy,
    cell_sizes,
    orderings,
    van_hove,
    table2_activation,
    redox_table,
    density_errors,
    density_slices,
    jump_view,
    paper_comparison,


rule all:
    default_target: True
    input:
        expand("results/{run}/figures/{figure}.csv", run=CFG.run, figure=FIGURES),
        expand("results/{run}/figures/jump_view.html", run=CFG.run),
        expand("results/{run}/summary.json", run=CFG.run),
        expand("results/{run}/manifest.json", run=CFG.run),
        lost_decisions(Path("results") / CFG.run),
        lost_results(CFG.run) if workflow.is_main_process else [],


# The converged ensemble alone, without production: `snakemake loop`.
rule loop:
    input:
        converged_ensemble,


# Jobs beside the driver of a cluster take one of the places that its profile gives (`local`): Snakemake 9.27 reads
# --local-cores and does not use it.
if not workflow.local_exec:
    for own in filter(workflow.is_local, workflow.rules):
        own.resources["local"] = 1


# Results that nobody knows the settings of are not taken for those of this config.
if workflow.is_main_process:
    refuse_unrecorded(CFG.run, workflow.rules, " ".join(map(str, workflow.overwrite_configfiles)), sys.argv)


# One driver a run; a run's own process, not its jobs', comes here.
onstart:
    acquire_run(Path("results") / CFG.run)
    export_config(Path("results") / CFG.run, config)
    record_reference(Path("results") / CFG.run, CFG)
