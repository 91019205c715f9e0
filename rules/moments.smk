# The moment network: on-site moments of the redox atoms from the geometry alone (electrons.moments.enabled); its errors, and
# its states beside those of the trajectories.


rule moments:
    input:
        dataset=converged("results/{run}/train/gen{gen}/dataset.extxyz"),
    output:
        model="results/{run}/electrons/moments.pt",
    log:
        "results/{run}/logs/electrons/moments.log",
    benchmark:
        "results/{run}/benchmarks/electrons/moments.tsv"
    threads: cores("moments")
    resources:
        **resources_for("moments"),
    params:
        **stage_version("moments"),
        moments=settings_for("moments", CFG.electrons.moments),
        electrons=settings_for("moments", CFG.electrons),
        seed=CFG.seed,
        state="results/{run}/state/electrons/moments",
    script:
        "../workflow/scripts/moments.py"


rule moment_fold:
    input:
        dataset=converged("results/{run}/train/gen{gen}/dataset.extxyz"),
        record=converged("results/{run}/train/gen{gen}/dataset.json"),
    output:
        states="results/{run}/electrons/folds/{fold}.csv",
    log:
        "results/{run}/logs/electrons/folds/{fold}.log",
    benchmark:
        "results/{run}/benchmarks/electrons/fold{fold}.tsv"
    threads: cores("moment_fold")
    resources:
        **resources_for("moment_fold"),
    params:
        **stage_version("moments"),
        moments=settings_for("moment_fold", CFG.electrons.moments),
        electrons=settings_for("moment_fold", CFG.electrons),
        train=settings_for("moment_fold", CFG.train),
        seed=CFG.seed,
        state="results/{run}/state/electrons/fold{fold}",
    script:
        "../workflow/scripts/moment_fold.py"


rule moment_errors:
    input:
        dataset=converged("results/{run}/train/gen{gen}/dataset.extxyz"),
        model="results/{run}/electrons/moments.pt",
        folds=RULES.moment_folds(),
    output:
        states="results/{run}/electrons/moment_states.csv",
        errors="results/{run}/electrons/moment_errors.csv",
    log:
        "results/{run}/logs/electrons/moment_errors.log",
    threads: cores("moment_errors")
    resources:
        **resources_for("moment_errors"),
    params:
        code=code("moment_errors", *MOMENT_CODE, "electrons/moment_tables.py", "electrons/search.py"),
        electrons=settings_for("moment_errors", CFG.electrons),
    script:
        "../workflow/scripts/moment_errors.py"


rule moment_check:
    input:
        trajectory="results/{run}/production/{structure}_T{temperature}K.h5",
        model="results/{run}/electrons/moments.pt",
    output:
        check="results/{run}/electrons/{structure}_T{temperature}K.moments.nc",
    log:
        "results/{run}/logs/electrons/{structure}_T{temperature}K.moments.log",
    threads: cores("moment_check")
    resources:
        **resources_for("moment_check"),
    params:
        code=code("moment_check", *MOMENT_CODE),
        electrons=settings_for("moment_check", CFG.electrons),
    script:
        "../workflow/scripts/moment_check.py"


rule moment_agreement:
    input:
        checks=RULES.all_trajectories("results/{run}/electrons/{structure}_T{temperature}K.moments.nc"),
    output:
        table="results/{run}/electrons/moment_agreement.csv",
    log:
        "results/{run}/logs/electrons/moment_agreement.log",
    localrule: True
    params:
        code=code("moment_agreement", "electrons/moment_tables.py"),
    script:
        "../workflow/scripts/moment_agreement.py"
