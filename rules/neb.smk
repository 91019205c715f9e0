# Barriers along paths of the mobile ions: bands of the converged ensemble, the reference method beside them.


rule neb_event:
    input:
        analyses=event_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=event_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        frames="results/{run}/neb/{path}.event.extxyz",
        record="results/{run}/neb/{path}.event.json",
    log:
        "results/{run}/logs/neb/{path}.event.log",
    params:
        code=code("neb_event", "neb/event.py", "diffusion", "structures"),
        path=neb_path,
        diffusion=section("diffusion", without=["min_jumps_to_fit", "min_temperatures_to_fit"]),
        structures=section("structures"),
    script:
        "../workflow/scripts/neb_event.py"


rule neb:
    input:
        ends=neb_inputs,
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
    threads: cpus("neb")
    resources:
        **needs("neb"),
    params:
        **stage_version("neb"),
        neb=section(
            "neb",
            without=[
                "paths",
                "supercell",
                "reference",
                "max_relax_steps",
                "max_band_steps",
                "train_phases",
                "max_candidate_images",
            ],
        ),
        path=neb_path,
        gate=frame_limits("low_eV_A"),
        state="results/{run}/state/neb/{path}",
    script:
        "../workflow/scripts/neb.py"


# In the generations of neb.train_phases: images that the ensemble is unsure about stand beside the frames of explore.
rule neb_explore:
    input:
        ends=band_inputs,
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
    threads: cpus("neb_explore")
    resources:
        **needs("neb_explore"),
    params:
        **stage_version("neb"),
        neb=band_settings,
        path=band_path,
        gate=lasting_limits,
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
    threads: cpus("neb_reference")
    resources:
        **needs("neb_reference"),
    params:
        reference=REFERENCE,
        state="results/{run}/state/neb/{path}.reference",
    script:
        "../workflow/scripts/neb_reference.py"


rule neb_profiles:
    input:
        profiles=all_paths("results/{run}/neb/{path}.profile.csv"),
        barriers=all_paths("results/{run}/neb/{path}.json"),
        references=all_paths("results/{run}/neb/{path}.reference.csv", wanted=CFG.neb.reference),
    output:
        profiles="results/{run}/neb/profiles.csv",
        barriers="results/{run}/neb/barriers.csv",
    log:
        "results/{run}/logs/neb/profiles.log",
    params:
        code=code("neb_profiles", "neb/profile.py"),
    script:
        "../workflow/scripts/neb_profiles.py"
