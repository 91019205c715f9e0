# Jumps and diffusion coefficients: per trajectory, then over replicas and temperatures.


rule jumps:
    input:
        trajectory="results/{run}/production/{structure}_T{temperature}K.h5",
    output:
        analysis="results/{run}/diffusion/{structure}_T{temperature}K.nc",
    log:
        "results/{run}/logs/diffusion/{structure}_T{temperature}K.log",
    threads: cores("jumps")
    resources:
        **resources_for("jumps"),
    params:
        code=code("jumps", "diffusion", "structures", "files/trajectory.py"),
        diffusion=settings_for("jumps", CFG.diffusion),
        structures=settings_for("jumps", CFG.structures),
        seed=CFG.seed,
    script:
        "../workflow/scripts/jumps.py"


rule diffusion:
    input:
        analyses=RULES.grid_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
    output:
        trajectories="results/{run}/diffusion/trajectories.csv",
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
        concerted="results/{run}/diffusion/concerted.csv",
        events="results/{run}/diffusion/events.csv",
        sites="results/{run}/diffusion/sites.csv",
        occupancy="results/{run}/diffusion/occupancy.csv",
        van_hove="results/{run}/diffusion/van_hove.csv",
    log:
        "results/{run}/logs/diffusion/summary.log",
    localrule: True
    params:
        code=code("diffusion", "diffusion"),
        diffusion=settings_for("diffusion", CFG.diffusion),
    script:
        "../workflow/scripts/diffusion.py"
