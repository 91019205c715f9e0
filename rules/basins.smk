# Basin hopping with the converged ensemble: the starts of production if basins.enabled is true.


rule basins:
    input:
        atoms="results/{run}/structures/{structure}.extxyz",
        ensemble=converged_ensemble,
    output:
        atoms="results/{run}/basins/{structure}.extxyz",
        visits="results/{run}/basins/{structure}.csv",
    log:
        "results/{run}/logs/basins/{structure}.log",
    benchmark:
        "results/{run}/benchmarks/basins/{structure}.tsv"
    threads: cores("basins")
    resources:
        **resources_for("basins"),
    params:
        **stage_version("basins"),
        **(settings_for("basins", CFG.electrons) if AWARE else {}),
        basins=settings_for("basins", CFG.basins),
        gate=RULES.frame_limits(),
        seed=CFG.seed,
        state="results/{run}/state/basins/{structure}",
    script:
        "../workflow/scripts/basins.py"
