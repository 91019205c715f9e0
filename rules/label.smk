# A short reference MD from each selected frame, one job each, and the count of what failed.


rule label:
    input:
        selected="results/{run}/select/gen{gen}/selected.extxyz",
    output:
        frames="results/{run}/label/gen{gen}/{label}.extxyz",
        densities="results/{run}/label/gen{gen}/{label}.densities.h5",
        record="results/{run}/label/gen{gen}/{label}.json",
    log:
        "results/{run}/logs/label/gen{gen}/{label}.log",
    benchmark:
        "results/{run}/benchmarks/label/gen{gen}_{label}.tsv"
    threads: cores("label")
    resources:
        **resources_for("label"),
    params:
        label=settings_for("label", CFG.label),
        reference=REFERENCE,
        seed=CFG.seed,
        state="results/{run}/state/label/gen{gen}_{label}",
    script:
        "../workflow/scripts/label.py"


rule labels:
    input:
        frames=labels("results/{run}/label/gen{gen}/{label}.extxyz"),
        records=labels("results/{run}/label/gen{gen}/{label}.json"),
    output:
        frames="results/{run}/label/gen{gen}/frames.extxyz",
        summary="results/{run}/label/gen{gen}/summary.json",
    log:
        "results/{run}/logs/label/gen{gen}/summary.log",
    localrule: True
    script:
        "../workflow/scripts/labels.py"
