# Starting structures by name: concentration, ordering, seed and supercell are all in it.


rule structure:
    output:
        atoms="results/{run}/structures/{structure}.extxyz",
    log:
        "results/{run}/logs/structures/{structure}.log",
    localrule: True
    params:
        **stage_version("structures"),
        structures=settings_for("structure", CFG.structures),
        seed=CFG.seed,
    script:
        "../workflow/scripts/structure.py"
