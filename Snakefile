# redoxmd: from DFT molecular dynamics to nanosecond dynamics with electrons.
# The rule files are in the order of the paper's loop, one stage each.

import sys

from snakemake.utils import min_version

from redoxmd.gate import lost_decisions
from redoxmd.runs.job_records import lost_results, refuse_unrecorded

min_version("9.0")

# For another run: `snakemake --configfile config/nvp.yaml`, which replaces this file completely.
if not workflow.configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/structures.smk"
include: "rules/aimd.smk"
include: "rules/pretrain.smk"
include: "rules/train.smk"
include: "rules/explore.smk"
include: "rules/select.smk"
include: "rules/gate.smk"
include: "rules/label.smk"
include: "rules/basins.smk"


if CFG.compute.md == "device" and CFG.compute.batch > 1:

    include: "rules/production_batch.smk"

else:

    include: "rules/production.smk"


include: "rules/diffusion.smk"
include: "rules/neb.smk"
include: "rules/density.smk"
include: "rules/charges.smk"
include: "rules/electrons.smk"
include: "rules/figures.smk"


rule all:
    default_target: True
    input:
        expand("results/{run}/figures/{figure}.csv", run=CFG.run, figure=FIGURES),
        expand("results/{run}/figures/jump_view.html", run=CFG.run),
        expand("results/{run}/summary.{kind}", run=CFG.run, kind=["json", "html"]),
        expand("results/{run}/manifest.json", run=CFG.run),
        lost_decisions(RESULTS),
        lost_results(CFG.run) if workflow.is_main_process else [],
    localrule: True


# The converged ensemble alone, without production: `snakemake loop`.
rule loop:
    input:
        converged_ensemble,
    localrule: True


# A local rule takes seconds of one core on small tables. Beside the driver of a cluster its jobs use the resource `local` of
# the profile, because Snakemake 9.27 reads --local-cores but does not use it.
if not workflow.local_exec:
    for own in filter(workflow.is_local, workflow.rules):
        own.resources["local"] = 1


# Results without a record are refused, because their settings are unknown.
if workflow.is_main_process:
    refuse_unrecorded(CFG.run, workflow.rules, " ".join(map(str, workflow.configfiles)), sys.argv)


# Only one driver per run is allowed; the driver executes this, its jobs do not.
onstart:
    acquire_run(RESULTS)
    export_config(RESULTS, config)
    record_reference(RESULTS, CFG)
