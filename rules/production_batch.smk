# The same with compute.md: device and compute.batch above 1: each job runs several trajectories side by side on one GPU.

for number, batch in enumerate(layout.trajectory_batches(CFG.production, CFG.compute.batch)):

    rule:
        name:
            f"production_batch{number}"
        input:
            atoms=sorted(set(RULES.trajectory_files(RULES.production_start(), batch))),
            ensemble=converged_ensemble,
        output:
            trajectories=RULES.trajectory_files("results/{run}/production/{structure}_T{temperature}K.h5", batch),
        log:
            f"results/{CFG.run}/logs/production/batch{number}.log",
        benchmark:
            f"results/{CFG.run}/benchmarks/production/batch{number}.tsv"
        threads: cores("production")
        resources:
            **resources_for("production"),
        params:
            **stage_version("production", AWARE),
            **(settings_for("production", CFG.electrons) if AWARE else {}),
            production=layout.trajectory_settings(CFG.production, RULES.lengths_ps[batch[0]]),
            seed=CFG.seed,
            state=f"results/{CFG.run}/state/production",
            trajectories=batch,
        script:
            "../workflow/scripts/production_batch.py"
