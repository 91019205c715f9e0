# Long MD by the converged ensemble over concentration, temperature and replica: a job for each trajectory.


rule production:
    input:
        atoms=RULES.production_start(),
        ensemble=converged_ensemble,
    output:
        trajectory="results/{run}/production/{structure}_T{temperature}K.h5",
    log:
        "results/{run}/logs/production/{structure}_T{temperature}K.log",
    benchmark:
        "results/{run}/benchmarks/production/{structure}_T{temperature}K.tsv"
    threads: cores("production")
    resources:
        **resources_for("production"),
    params:
        **stage_version("production", AWARE),
        **(settings_for("production", CFG.electrons) if AWARE else {}),
        production=RULES.trajectory_settings,
        seed=CFG.seed,
        state="results/{run}/state/production/{structure}_T{temperature}K",
    script:
        "../workflow/scripts/production.py"
