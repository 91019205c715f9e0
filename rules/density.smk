# The spin-density model: which densities it learns from, its training, its errors.


rule density_dataset:
    input:
        frames=converged("results/{run}/train/gen{gen}/dataset.json"),
        aimd=RULES.aimd_files("densities.h5"),
        labels=all_labels("results/{run}/label/gen{gen}/{label}.densities.h5"),
        cards=[str(folder / "dataset.yaml") for folder in CFG.train.datasets],
        stores=[str(path) for path in CFG.density.stores],
    output:
        **({"left_out": "results/{run}/density/left_out.json"} if CFG.electrons.levels else {}),
        index="results/{run}/density/dataset.json",
    log:
        "results/{run}/logs/density/dataset.log",
    params:
        **stage_version("density"),
        **settings_for("density_dataset", CFG.electrons),
        **({"given": str(CFG.density.model)} if CFG.density.model else {}),
        datasets=[str(folder) for folder in CFG.train.datasets],
        test=RULES.density_test_configurations(),
        validation_fraction=CFG.density.validation_fraction,
        reference=REFERENCE,
        seed=CFG.seed,
    script:
        "../workflow/scripts/density_dataset.py"


rule density:
    input:
        **({"given": str(CFG.density.model)} if CFG.density.model else {}),
        index="results/{run}/density/dataset.json",
    output:
        model="results/{run}/density/model.pt",
        history="results/{run}/density/history.csv",
    log:
        "results/{run}/logs/density/model.log",
    benchmark:
        "results/{run}/benchmarks/density/model.tsv"
    threads: cores("density")
    resources:
        **resources_for("density"),
    params:
        **stage_version("density"),
        density=settings_for("density", CFG.density),
        redox=CFG.structures.redox_element,
        seed=CFG.seed,
        state="results/{run}/state/density",
    script:
        "../workflow/scripts/density.py"


rule density_evaluation:
    input:
        index="results/{run}/density/dataset.json",
        model="results/{run}/density/model.pt",
    output:
        errors="results/{run}/density/errors.csv",
        slices="results/{run}/density/slices.json",
    log:
        "results/{run}/logs/density/evaluation.log",
    threads: cores("density_evaluation")
    resources:
        **resources_for("density_evaluation"),
    params:
        **stage_version("density"),
        redox=CFG.structures.redox_element,
        seed=CFG.seed,
    script:
        "../workflow/scripts/density_evaluation.py"
