# Distinct, diverse candidates within the labelling budget.


rule select:
    input:
        candidates=explored("results/{run}/explore/gen{gen}/{structure}.candidates.extxyz"),
        dataset="results/{run}/train/gen{gen}/dataset.extxyz",
        ensemble="results/{run}/train/gen{gen}/ensemble.pt",
    output:
        selected="results/{run}/select/gen{gen}/selected.extxyz",
        refused="results/{run}/select/gen{gen}/refused.csv",
    log:
        "results/{run}/logs/select/gen{gen}.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime="2h",
    params:
        select=section("select"),
    script:
        "../workflow/scripts/select.py"
