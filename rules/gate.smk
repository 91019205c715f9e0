# The one checkpoint: converged, go on with these label jobs, or stop.


checkpoint gate:
    input:
        runs=explored("results/{run}/explore/gen{gen}/{structure}.json"),
        bands=bands("results/{run}/neb/gen{gen}/{path}.json"),
        selected="results/{run}/select/gen{gen}/selected.extxyz",
        earlier=earlier_decision,
    output:
        decision="results/{run}/gate/gen{gen}.json",
    log:
        "results/{run}/logs/gate/gen{gen}.log",
    params:
        **stage_version("gate"),
        gate=lasting("gate", without=["max_generations"]),
        explore=lasting("explore", without=["phases"]),
        select=lasting("select"),
        length_ps=explore_length_ps,
        phase=phase,
    script:
        "../workflow/scripts/gate.py"
