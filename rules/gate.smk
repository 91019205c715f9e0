# The only checkpoint: converged, continue with these label jobs, or stop.


checkpoint gate:
    input:
        runs=explored("results/{run}/explore/gen{gen}/{structure}.json"),
        bands=generation_paths("results/{run}/neb/gen{gen}/{path}.json"),
        selected="results/{run}/select/gen{gen}/selected.extxyz",
        earlier=earlier_decision,
    output:
        decision="results/{run}/gate/gen{gen}.json",
    log:
        "results/{run}/logs/gate/gen{gen}.log",
    localrule: True
    params:
        **stage_version("gate"),
        gate=settings_when_labelled("gate", CFG.gate),
        explore=settings_when_labelled("gate", CFG.explore),
        select=settings_when_labelled("gate", CFG.select),
        length_ps=explore_length_ps,
        phase=phase,
    script:
        "../workflow/scripts/gate.py"
