# Barriers along paths of the mobile ions: bands of the converged ensemble, and reference energies of their images.


rule neb_event:
    input:
        analyses=RULES.event_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=RULES.event_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        frames="results/{run}/neb/{path}.event.extxyz",
        record="results/{run}/neb/{path}.event.json",
    log:
        "results/{run}/logs/neb/{path}.event.log",
    localrule: True
    params:
        **stage_version("neb_event"),
        path=RULES.neb_path,
        diffusion=settings_for("neb_event", CFG.diffusion),
        structures=settings_for("neb_event", CFG.structures),
    script:
        "../workflow/scripts/neb_event.py"


rule neb:
    input:
        ends=RULES.neb_ends,
        ensemble=converged_ensemble,
    output:
        images="results/{run}/neb/{path}.images.extxyz",
        candidates="results/{run}/neb/{path}.candidates.extxyz",
        profile="results/{run}/neb/{path}.profile.csv",
        barriers="results/{run}/neb/{path}.json",
    log:
        "results/{run}/logs/neb/{path}.log",
    benchmark:
        "results/{run}/benchmarks/neb/{path}.tsv"
    threads: cores("neb")
    resources:
        **resources_for("neb"),
    params:
        **stage_version("neb"),
        **(settings_for("neb", CFG.electrons) if AWARE else {}),
        neb=settings_for("neb", CFG.neb),
        path=RULES.neb_path,
        gate=RULES.frame_limits("low_eV_A"),
        state="results/{run}/state/neb/{path}",
    script:
        "../workflow/scripts/neb.py"


# In the generations of neb.train_phases: images with a large spread become candidates, like the frames of explore.
rule neb_explore:
    input:
        ends=generation_path_ends,
        ensemble="results/{run}/train/gen{gen}/ensemble.pt",
        earlier=earlier_decision,
    output:
        record="results/{run}/neb/gen{gen}/{path}.json",
        candidates="results/{run}/neb/gen{gen}/{path}.candidates.extxyz",
        profile="results/{run}/neb/gen{gen}/{path}.csv",
    log:
        "results/{run}/logs/neb/gen{gen}/{path}.log",
    benchmark:
        "results/{run}/benchmarks/neb/gen{gen}_{path}.tsv"
    threads: cores("neb_explore")
    resources:
        **resources_for("neb_explore"),
    params:
        **stage_version("neb"),
        **(settings_for("neb_explore", CFG.electrons) if AWARE else {}),
        neb=generation_band_settings,
        path=generation_path,
        gate=frame_limits_when_labelled,
        state="results/{run}/state/neb_explore/gen{gen}_{path}",
    script:
        "../workflow/scripts/neb_explore.py"


rule neb_reference:
    input:
        images="results/{run}/neb/{path}.images.extxyz",
    output:
        energies="results/{run}/neb/{path}.reference.csv",
    log:
        "results/{run}/logs/neb/{path}.reference.log",
    benchmark:
        "results/{run}/benchmarks/neb/{path}.reference.tsv"
    threads: cores("neb_reference")
    resources:
        **resources_for("neb_reference"),
    params:
        reference=REFERENCE,
        state="results/{run}/state/neb/{path}.reference",
    script:
        "../workflow/scripts/neb_reference.py"


rule neb_profiles:
    input:
        profiles=RULES.all_paths("results/{run}/neb/{path}.profile.csv"),
        barriers=RULES.all_paths("results/{run}/neb/{path}.json"),
        references=RULES.all_paths("results/{run}/neb/{path}.reference.csv", wanted=CFG.neb.reference),
    output:
        profiles="results/{run}/neb/profiles.csv",
        barriers="results/{run}/neb/barriers.csv",
    log:
        "results/{run}/logs/neb/profiles.log",
    localrule: True
    params:
        code=code("neb_profiles", "neb/profile.py"),
    script:
        "../workflow/scripts/neb_profiles.py"
