# Distinct, diverse candidates within the labelling budget.


rule select:
    input:
        candidates=explored("results/{run}/explore/gen{gen}/{structure}.candidates.extxyz"),
        bands=generation_paths("results/{run}/neb/gen{gen}/{path}.candidates.extxyz"),
        dataset="results/{run}/train/gen{gen}/dataset.extxyz",
        record="results/{run}/train/gen{gen}/dataset.json",
        ensemble="results/{run}/train/gen{gen}/ensemble.pt",
    output:
        selected="results/{run}/select/gen{gen}/selected.extxyz",
        refused="results/{run}/select/gen{gen}/refused.csv",
    log:
        "results/{run}/logs/select/gen{gen}.log",
    threads: cores("select")
    resources:
        **resources_for("select"),
    params:
        **stage_version("select"),
        select=settings_when_labelled("select", CFG.select),
    script:
        "../workflow/scripts/select.py"
