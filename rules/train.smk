# The ensemble of a generation: its training set, its members one job each, and what they are together; and, of the
# last training set, errors on configurations left out (train.folds). An ensemble that is given (train.ensemble) has errors on
# the data set of generation 0 alone.


rule dataset:
    input:
        frames=training_frames,
        cards=[str(folder / "dataset.yaml") for folder in CFG.train.datasets],
    output:
        frames="results/{run}/train/gen{gen}/dataset.extxyz",
        record="results/{run}/train/gen{gen}/dataset.json",
    log:
        "results/{run}/logs/train/gen{gen}/dataset.log",
    params:
        **stage_version("train"),
        **settings_for("dataset", CFG.train) | {"exclude": RULES.excluded},
        **settings_for("dataset", CFG.electrons),
        **RULES.teacher(),
        structures=settings_for("dataset", CFG.structures),
        reference=REFERENCE,
        seed=CFG.seed,
    script:
        "../workflow/scripts/dataset.py"


rule train:
    input:
        dataset="results/{run}/train/gen{gen}/dataset.extxyz",
        previous=RULES.previous_member,
        pretrained=RULES.pretrained_member,
        replay=RULES.replay_files(),
    output:
        member="results/{run}/train/gen{gen}/member{member}.pt",
    log:
        "results/{run}/logs/train/gen{gen}/member{member}.log",
    benchmark:
        "results/{run}/benchmarks/train/gen{gen}_member{member}.tsv"
    threads: cores("train")
    resources:
        **resources_for("train"),
    params:
        **stage_version("train"),
        train=settings_for("train", CFG.train),
        size=RULES.member_size,
        seed=CFG.seed,
        state="results/{run}/state/train/gen{gen}_member{member}",
    script:
        "../workflow/scripts/train.py"


rule ensemble:
    input:
        **RULES.members(),
        dataset="results/{run}/train/gen{gen}/dataset.extxyz",
    output:
        ensemble="results/{run}/train/gen{gen}/ensemble.pt",
        record="results/{run}/train/gen{gen}/ensemble.json",
        forces="results/{run}/train/gen{gen}/forces.csv.gz",
        energies="results/{run}/train/gen{gen}/energies.csv",
        suspects="results/{run}/train/gen{gen}/suspects.csv",
    log:
        "results/{run}/logs/train/gen{gen}/ensemble.log",
    threads: cores("ensemble")
    resources:
        **resources_for("ensemble"),
    params:
        **stage_version("train"),
        **(settings_for("ensemble", CFG.electrons) if AWARE else {}),
        **({} if CFG.has_loop else {"states": CFG.train.states}),
        seed=CFG.seed,
    script:
        "../workflow/scripts/ensemble.py"


rule fold:
    input:
        dataset=converged("results/{run}/train/gen{gen}/dataset.extxyz"),
        record=converged("results/{run}/train/gen{gen}/dataset.json"),
        pretrained=RULES.pretrained_member,
        replay=RULES.replay_files(),
    output:
        errors="results/{run}/train/folds/{fold}.csv",
    log:
        "results/{run}/logs/train/folds/{fold}.log",
    benchmark:
        "results/{run}/benchmarks/train/fold{fold}.tsv"
    threads: cores("fold")
    resources:
        **resources_for("fold"),
    params:
        **stage_version("train"),
        train=settings_for("fold", CFG.train),
        seed=CFG.seed,
        state="results/{run}/state/train/fold{fold}",
    script:
        "../workflow/scripts/fold.py"
