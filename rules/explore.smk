# Ensemble MD under the uncertainty gate.


rule explore:
    input:
        atoms="results/{run}/structures/{structure}.extxyz",
        ensemble="results/{run}/train/gen{gen}/ensemble.pt",
        earlier=earlier_decision,
    output:
        record="results/{run}/explore/gen{gen}/{structure}.json",
        candidates="results/{run}/explore/gen{gen}/{structure}.candidates.extxyz",
        trace="results/{run}/explore/gen{gen}/{structure}.csv",
    log:
        "results/{run}/logs/explore/gen{gen}/{structure}.log",
    benchmark:
        "results/{run}/benchmarks/explore/gen{gen}_{structure}.tsv"
    threads: cores("explore")
    resources:
        **resources_for("explore"),
    params:
        **stage_version("explore", AWARE),
        **(settings_for("explore", CFG.electrons) if AWARE else {}),
        explore=settings_when_labelled("explore", CFG.explore),
        length_ps=explore_length_ps,
        seed=CFG.seed,
        state="results/{run}/state/explore/gen{gen}_{structure}",
    script:
        "../workflow/scripts/explore.py"
