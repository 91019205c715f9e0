# Labels of a potential, the teacher, and members trained on them, from which generation 0 starts (pretrain.enabled).


rule pretrain_frames:
    input:
        atoms="results/{run}/structures/{structure}.extxyz",
        potential=RULES.potential_file(CFG.pretrain.potential),
    output:
        frames="results/{run}/pretrain/{structure}.extxyz",
    log:
        "results/{run}/logs/pretrain/{structure}.log",
    threads: cores("pretrain_frames")
    resources:
        **resources_for("pretrain_frames"),
    params:
        **stage_version("pretrain"),
        pretrain=settings_for("pretrain_frames", CFG.pretrain),
        electrons=settings_for("pretrain_frames", CFG.electrons),
        seed=CFG.seed,
    script:
        "../workflow/scripts/pretrain_frames.py"


rule pretrain:
    input:
        frames=RULES.teacher_files(),
    output:
        member="results/{run}/pretrain/member{member}.pt",
    log:
        "results/{run}/logs/pretrain/member{member}.log",
    benchmark:
        "results/{run}/benchmarks/pretrain/member{member}.tsv"
    threads: cores("pretrain")
    resources:
        **resources_for("pretrain"),
    params:
        **stage_version("pretrain"),
        pretrain=settings_for("pretrain", CFG.pretrain),
        train=settings_for("pretrain", CFG.train),
        structures=settings_for("pretrain", CFG.structures),
        size=RULES.member_size,
        teacher=CFG.pretrain.potential,
        seed=CFG.seed,
        state="results/{run}/state/pretrain/member{member}",
    script:
        "../workflow/scripts/pretrain.py"


# Of these members before the first reference label: a point of the learning curve.
rule pretrain_errors:
    input:
        members=RULES.pretrained_members(),
        dataset="results/{run}/train/gen0/dataset.extxyz",
    output:
        errors="results/{run}/pretrain/errors.csv",
    log:
        "results/{run}/logs/pretrain/errors.log",
    threads: cores("pretrain_errors")
    resources:
        **resources_for("pretrain_errors"),
    params:
        **stage_version("pretrain"),
        seed=CFG.seed,
    script:
        "../workflow/scripts/pretrain_errors.py"
