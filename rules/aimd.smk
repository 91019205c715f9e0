# Reference MD that starts the training set, and MD with a potential that heats its structures (aimd.warm_up).


rule warm_up:
    input:
        atoms="results/{run}/structures/{structure}.extxyz",
        potential=RULES.potential_file(CFG.aimd.warm_up.potential),
    output:
        atoms="results/{run}/warm_up/{structure}.extxyz",
    log:
        "results/{run}/logs/warm_up/{structure}.log",
    threads: cores("warm_up")
    resources:
        **resources_for("warm_up"),
    params:
        **stage_version("warm_up"),
        **settings_for("warm_up", CFG.aimd),
        seed=CFG.seed,
    script:
        "../workflow/scripts/warm_up.py"


rule aimd:
    input:
        atoms=RULES.aimd_start(),
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
