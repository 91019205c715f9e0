# Starting structures by name: concentration, ordering, seed and supercell are all in it.


rule structure:
    output:
        atoms="results/{run}/structures/{structure}.extxyz",
    log:
        "results/{run}/logs/structures/{structure}.log",
    params:
        **stage_version("structures"),
        structures=section("structures"),
        seed=CFG.seed,
    script:
        "../workflow/scripts/structure.py"
