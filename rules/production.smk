# Long MD by the converged ensemble over concentration, temperature and replica: a job for each trajectory, or one for several.

if CFG.compute.md == "device" and CFG.compute.batch > 1:
    for number, batch in enumerate(layout.trajectory_batches(CFG.production, CFG.compute.batch)):

        rule:
            name:
                f"production_batch{number}"
            input:
                atoms=sorted(set(RULES.batch_files(RULES.production_start(), batch))),
                ensemble=converged_ensemble,
            output:
                trajectories=RULES.batch_files("results/{run}/production/{structure}_T{temperature}K.h5", batch),
            log:
                f"results/{CFG.run}/logs/production/batch{number}.log",
            benchmark:
                f"results/{CFG.run}/benchmarks/production/batch{number}.tsv"
            threads: cores("production")
            resources:
                **resources_for("production"),
            params:
                **stage_version("production"),
                production=layout.trajectory_settings(CFG.production, RULES.lengths_ps[batch[0]]),
                seed=CFG.seed,
                state=f"results/{CFG.run}/state/production",
                trajectories=batch,
            script:
                "../workflow/scripts/production_batch.py"

else:

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
            **stage_version("production"),
            production=RULES.trajectory_settings,
            seed=CFG.seed,
            state="results/{run}/state/production/{structure}_T{temperature}K",
        script:
            "../workflow/scripts/production.py"
