# A rule, script and caption of the same name per figure. The other rules inherit from the first and state what differs.


rule learning_curve:
    input:
        ensembles=all_generations("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=decided("results/{run}/gate/gen{gen}.json"),
        pretrained="results/{run}/pretrain/errors.csv" if CFG.pretrain.enabled else [],
    output:
        **figure_files("learning_curve", "The loop"),
    log:
        "results/{run}/logs/figures/{figure}.log",
    localrule: True
    params:
        code=RULES.figure_code,
        caption=RULES.caption,
        style=plain(CFG.figures),
        stem="results/{run}/figures/{figure}",
    script:
        "../workflow/scripts/{wildcards.figure}.py"


use rule learning_curve as gate_timeline with:
    input:
        traces=all_explored("results/{run}/explore/gen{gen}/{structure}.csv"),
        decisions=decided("results/{run}/gate/gen{gen}.json"),
    output:
        **figure_files("gate_timeline", "The loop"),
    localrule: True


use rule learning_curve as fig3a_errors with:
    input:
        forces=converged("results/{run}/train/gen{gen}/forces.csv.gz"),
        energies=converged("results/{run}/train/gen{gen}/energies.csv"),
    output:
        **figure_files("fig3a_errors", "Accuracy"),
    localrule: True


use rule learning_curve as calibration with:
    input:
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
    output:
        **figure_files("calibration", "Accuracy"),
    localrule: True


use rule learning_curve as left_out_errors with:
    input:
        folds=RULES.folds(),
    output:
        **figure_files("left_out_errors", "Accuracy"),
    localrule: True


use rule learning_curve as fig4_neb with:
    input:
        profiles="results/{run}/neb/profiles.csv",
        barriers="results/{run}/neb/barriers.csv",
        images=RULES.all_paths("results/{run}/neb/{path}.images.extxyz"),
    output:
        **figure_files("fig4_neb", "Diffusion"),
    localrule: True


use rule learning_curve as fig5_exchange with:
    input:
        analyses=RULES.all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=RULES.all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        **figure_files("fig5_exchange", "Diffusion"),
    localrule: True
    params:
        diffusion=settings_for("fig5_exchange", CFG.diffusion),


use rule learning_curve as fig6_concerted with:
    input:
        concerted="results/{run}/diffusion/concerted.csv",
    output:
        **figure_files("fig6_concerted", "Diffusion"),
    localrule: True


use rule learning_curve as fig7_diffusivity with:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
    output:
        **figure_files("fig7_diffusivity", "Diffusion"),
    localrule: True


use rule learning_curve as fig8_arrhenius with:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
    output:
        **figure_files("fig8_arrhenius", "Diffusion"),
    localrule: True


use rule learning_curve as fig9_jumps_vs_msd with:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
    output:
        **figure_files("fig9_jumps_vs_msd", "Diffusion"),
    localrule: True


use rule learning_curve as site_occupancy with:
    input:
        occupancy="results/{run}/diffusion/occupancy.csv",
        sites="results/{run}/diffusion/sites.csv",
    output:
        **figure_files("site_occupancy", "Diffusion"),
    localrule: True


use rule learning_curve as cell_sizes with:
    input:
        analyses=RULES.all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
    output:
        **figure_files("cell_sizes", "Diffusion"),
    localrule: True
    params:
        diffusion=settings_for("cell_sizes", CFG.diffusion),


use rule learning_curve as orderings with:
    input:
        visits=RULES.visits(),
    output:
        **figure_files("orderings", "Diffusion"),
    localrule: True
    params:
        structures=settings_for("orderings", CFG.structures),


use rule learning_curve as van_hove with:
    input:
        van_hove="results/{run}/diffusion/van_hove.csv",
    output:
        **figure_files("van_hove", "Diffusion"),
    localrule: True


use rule learning_curve as table2_activation with:
    input:
        arrhenius="results/{run}/diffusion/arrhenius.csv",
    output:
        **figure_files("table2_activation", "Diffusion"),
    localrule: True


use rule learning_curve as density_errors with:
    input:
        errors="results/{run}/density/errors.csv",
        history="results/{run}/density/history.csv",
    output:
        **figure_files("density_errors", "Electrons"),
    localrule: True


use rule learning_curve as density_slices with:
    input:
        slices="results/{run}/density/slices.json",
    output:
        **figure_files("density_slices", "Electrons"),
    localrule: True


use rule learning_curve as fig3b_bader with:
    input:
        charges="results/{run}/charges/reference.csv",
    output:
        **figure_files("fig3b_bader", "Electrons"),
    localrule: True


use rule learning_curve as fig3c_histogram with:
    input:
        charges="results/{run}/charges/reference.csv",
        states="results/{run}/charges/states.csv",
        mixture="results/{run}/charges/oxidation.json",
    output:
        **figure_files("fig3c_histogram", "Electrons"),
    localrule: True


use rule learning_curve as electron_hops with:
    input:
        rates="results/{run}/electrons/rates.csv",
        arrhenius="results/{run}/electrons/arrhenius.csv",
        states="results/{run}/electrons/states.csv",
    output:
        **figure_files("electron_hops", "Electrons"),
    localrule: True


use rule learning_curve as moment_network with:
    input:
        states="results/{run}/electrons/moment_states.csv",
        errors="results/{run}/electrons/moment_errors.csv",
    output:
        **figure_files("moment_network", "Electrons"),
    localrule: True


use rule learning_curve as redox_table with:
    input:
        table="results/{run}/charges/redox.csv",
    output:
        **figure_files("redox_table", "Electrons"),
    localrule: True


use rule learning_curve as fig10_jump with:
    input:
        charges=RULES.all_trajectories("results/{run}/charges/{structure}_T{temperature}K.nc"),
        jumps=RULES.all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=RULES.all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
        mixture="results/{run}/charges/oxidation.json",
    output:
        **figure_files("fig10_jump", "Electrons"),
    params:
        charges=settings_for("fig10_jump", CFG.charges),
        structures=settings_for("fig10_jump", CFG.structures),


use rule learning_curve as paper_comparison with:
    input:
        **RULES.electrons("charges", "mixture", "redox"),
        **({"orderings": "results/{run}/figures/orderings.csv"} if CFG.basins.enabled else {}),
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=decided("results/{run}/gate/gen{gen}.json"),
        trajectories="results/{run}/diffusion/trajectories.csv",
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
        concerted="results/{run}/diffusion/concerted.csv",
        sites="results/{run}/diffusion/sites.csv",
        events="results/{run}/diffusion/events.csv",
    output:
        **figure_files("paper_comparison", "The paper"),
    localrule: True
    params:
        structures=settings_for("paper_comparison", CFG.structures),
        engine=CFG.engine.name,
        supercell=list(CFG.production.supercell),


# Interactive 3-D view of a jump: a page of its own in the report.
rule jump_view:
    input:
        analyses=RULES.all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=RULES.all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        page=report(
            "results/{run}/figures/jump_view.html",
            caption="../workflow/report/jump_view.rst",
            category="Diffusion",
            labels={"figure": "jump_view"},
        ),
    log:
        "results/{run}/logs/figures/jump_view.log",
    localrule: True
    params:
        code=code("jump_view", "figures", "figures/assets/jump_view.html", "diffusion"),
        caption=captions_of(CFG)["jump_view"],
    script:
        "../workflow/scripts/jump_view.py"


# The headline numbers, for `redoxmd status`.
rule summary:
    input:
        **RULES.electrons("density_errors", "charges", "mixture", *(["redox"] if AWARE else [])),
        **state_records(),
        **RULES.moment_tables(),
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=decided("results/{run}/gate/gen{gen}.json"),
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
        concerted="results/{run}/diffusion/concerted.csv",
        sites="results/{run}/diffusion/sites.csv",
        folds=RULES.folds(),
    output:
        summary="results/{run}/summary.json",
    log:
        "results/{run}/logs/figures/summary.log",
    localrule: True
    params:
        code=code("summary", "runs/run_tables.py"),
        redox=CFG.structures.redox_element,
    script:
        "../workflow/scripts/summary.py"


# The main results in short, with reasons to distrust them: a page that needs no other file, also in the report.
rule first_page:
    input:
        **RULES.electrons("redox"),
        **({"rates": "results/{run}/electrons/rates.csv"} if AWARE else {}),
        summary="results/{run}/summary.json",
        dataset=converged("results/{run}/train/gen{gen}/dataset.json"),
        errors="results/{run}/figures/learning_curve.csv",
        trajectories="results/{run}/diffusion/trajectories.csv",
        structure=RULES.first_structure(),
        figures=expand("results/{{run}}/figures/{figure}.svg", figure=first_page_figures(CFG)),
    output:
        page=report(
            "results/{run}/summary.html",
            caption="../workflow/report/first_page.rst",
            category="First page",
            labels={"figure": "summary"},
        ),
    log:
        "results/{run}/logs/figures/first_page.log",
    localrule: True
    params:
        code=code("first_page", "runs/first_page.py", "files/html.py", "diffusion/counting.py"),
        caption=captions_of(CFG)["first_page"],
    script:
        "../workflow/scripts/first_page.py"


# What every number was made from; for `redoxmd trace`.
rule manifest:
    input:
        figures=expand("results/{{run}}/figures/{figure}.csv", figure=FIGURES),
        view="results/{run}/figures/jump_view.html",
        summary="results/{run}/summary.json",
        page="results/{run}/summary.html",
    output:
        manifest="results/{run}/manifest.json",
    log:
        "results/{run}/logs/figures/manifest.log",
    threads: cores("manifest")
    resources:
        **resources_for("manifest"),
    params:
        config=plain(CFG, text_keys=False),
        code=code("manifest", "runs/provenance.py"),
    script:
        "../workflow/scripts/manifest.py"
