# Starting structures by name: concentration, ordering, seed and supercell are all in it.


rule structure:
    output:
        atoms="results/{run}/structures/{structure}.extxyz",
    params:
        structures=section("structures"),
        seed=CFG.seed,
    log:
        "results/{run}/logs/structures/{structure}.log",
    script:
        "../workflow/scripts/structure.py"
