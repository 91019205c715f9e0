# Bader charges of the reference and along trajectories, and the oxidation states and electron hops that they give.


rule reference_charges:
    input:
        index="results/{run}/density/dataset.json",
        model="results/{run}/density/model.pt",
    output:
        charges="results/{run}/charges/reference.csv",
    log:
        "results/{run}/logs/charges/reference.log",
    benchmark:
        "results/{run}/benchmarks/charges/reference.tsv"
    threads: cores("reference_charges")
    resources:
        **resources_for("reference_charges"),
    params:
        **stage_version("charges"),
        spacing_A=CFG.charges.spacing_A,
        seed=CFG.seed,
    script:
        "../workflow/scripts/reference_charges.py"


rule oxidation:
    input:
        charges="results/{run}/charges/reference.csv",
    output:
        mixture="results/{run}/charges/oxidation.json",
    log:
        "results/{run}/logs/charges/oxidation.log",
    localrule: True
    params:
        code=code("oxidation", "charges"),
        states=list(CFG.charges.states),
        redox=CFG.structures.redox_element,
    script:
        "../workflow/scripts/oxidation.py"


rule charges:
    input:
        trajectory="results/{run}/production/{structure}_T{temperature}K.h5",
        jumps="results/{run}/diffusion/{structure}_T{temperature}K.nc",
        model="results/{run}/density/model.pt",
    output:
        charges="results/{run}/charges/{structure}_T{temperature}K.nc",
    log:
        "results/{run}/logs/charges/{structure}_T{temperature}K.log",
    benchmark:
        "results/{run}/benchmarks/charges/{structure}_T{temperature}K.tsv"
    threads: cores("charges")
    resources:
        **resources_for("charges"),
    params:
        **stage_version("charges"),
        # Results of versions that did not keep the states of the trajectory are stale.
        **({"states": "of the MD"} if AWARE else {}),
        charges=settings_for("charges", CFG.charges),
        structures=settings_for("charges", CFG.structures),
        state="results/{run}/state/charges/{structure}_T{temperature}K",
    script:
        "../workflow/scripts/charges.py"


rule redox:
    input:
        charges=RULES.all_trajectories("results/{run}/charges/{structure}_T{temperature}K.nc"),
        jumps=RULES.all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        mixture="results/{run}/charges/oxidation.json",
    output:
        table="results/{run}/charges/redox.csv",
        hops="results/{run}/charges/hops.csv",
        states="results/{run}/charges/states.csv",
    log:
        "results/{run}/logs/charges/redox.log",
    params:
        code=code("redox", "charges", "structures/geometry.py", "structures/periodic_cell.py"),
        charges=settings_for("redox", CFG.charges),
        structures=settings_for("redox", CFG.structures),
    script:
        "../workflow/scripts/redox.py"
