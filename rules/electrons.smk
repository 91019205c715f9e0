# Electrons of runs whose potentials distinguish oxidation states: hops along the trajectories, which contain the states, and
# their rates. Moment network: on-site moments of the redox atoms from the geometry alone (electrons.moments.enabled).

# Modules of the comparison of states with those of the moment network.
MOMENT_CODE = ("electrons/moments.py", "electrons/moment_checks.py", "electrons/states.py")


rule hops:
    input:
        trajectory="results/{run}/production/{structure}_T{temperature}K.h5",
        jumps="results/{run}/diffusion/{structure}_T{temperature}K.nc",
    output:
        hops="results/{run}/electrons/{structure}_T{temperature}K.nc",
    log:
        "results/{run}/logs/electrons/{structure}_T{temperature}K.log",
    threads: cores("hops")
    resources:
        **resources_for("hops"),
    params:
        code=code("hops", "electrons/hops.py", "charges/hops.py", "charges/redox.py", "structures"),
        structures=settings_for("hops", CFG.structures),
        charges=settings_for("hops", CFG.charges),
        electrons=settings_for("hops", CFG.electrons),
    script:
        "../workflow/scripts/hops.py"


rule hop_rates:
    input:
        hops=RULES.all_trajectories("results/{run}/electrons/{structure}_T{temperature}K.nc"),
    output:
        trajectories="results/{run}/electrons/trajectories.csv",
        hops="results/{run}/electrons/hops.csv",
        states="results/{run}/electrons/states.csv",
        rates="results/{run}/electrons/rates.csv",
        arrhenius="results/{run}/electrons/arrhenius.csv",
    log:
        "results/{run}/logs/electrons/rates.log",
    localrule: True
    params:
        code=code("hop_rates", "electrons/hops.py", "diffusion"),
        diffusion=settings_for("hop_rates", CFG.diffusion),
    script:
        "../workflow/scripts/hop_rates.py"


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
