# Reference MD that starts the training set.


rule aimd:
    input:
        atoms="results/{run}/structures/{structure}.extxyz",
    output:
        frames="results/{run}/aimd/{structure}/frames.extxyz",
        densities="results/{run}/aimd/{structure}/densities.h5",
        record="results/{run}/aimd/{structure}/record.json",
    log:
        "results/{run}/logs/aimd/{structure}.log",
    benchmark:
        "results/{run}/benchmarks/aimd/{structure}.tsv"
    threads: cores("aimd")
    resources:
        **resources_for("aimd"),
    params:
        aimd=settings_for("aimd", CFG.aimd),
        reference=REFERENCE,
        seed=CFG.seed,
        state="results/{run}/state/aimd/{structure}",
    script:
        "../workflow/scripts/aimd.py"
