# One rule, one script and one caption per figure; files are named after the paper's figures.


rule learning_curve:
    input:
        ensembles=all_generations("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=all_generations("results/{run}/gate/gen{gen}.json"),
    output:
        pdf="results/{run}/figures/learning_curve.pdf",
        svg=report(
            "results/{run}/figures/learning_curve.svg",
            caption="../workflow/report/learning_curve.rst",
            category="The loop",
            labels={"figure": "learning_curve"},
        ),
        png="results/{run}/figures/learning_curve.png",
        csv="results/{run}/figures/learning_curve.csv",
    log:
        "results/{run}/logs/figures/learning_curve.log",
    params:
        code=code("learning_curve", "figures"),
        stem="results/{run}/figures/learning_curve",
        style=section("figures"),
        caption=dict(
            members=len(CFG.train.members),
            test=", ".join(CFG.train.test_configurations) or "none",
        ),
    script:
        "../workflow/scripts/learning_curve.py"


rule gate_timeline:
    input:
        traces=all_traces,
        decisions=all_generations("results/{run}/gate/gen{gen}.json"),
    output:
        pdf="results/{run}/figures/gate_timeline.pdf",
        svg=report(
            "results/{run}/figures/gate_timeline.svg",
            caption="../workflow/report/gate_timeline.rst",
            category="The loop",
            labels={"figure": "gate_timeline"},
        ),
        png="results/{run}/figures/gate_timeline.png",
        csv="results/{run}/figures/gate_timeline.csv",
    log:
        "results/{run}/logs/figures/gate_timeline.log",
    params:
        code=code("gate_timeline", "figures"),
        stem="results/{run}/figures/gate_timeline",
        style=section("figures"),
        caption=dict(
            low=CFG.explore.low_eV_A,
            high=CFG.explore.high_eV_A,
            kelvin=CFG.explore.temperature_K,
            interval=CFG.explore.candidate_every_fs,
        ),
    script:
        "../workflow/scripts/gate_timeline.py"


rule fig3a_errors:
    input:
        forces=converged("results/{run}/train/gen{gen}/forces.csv.gz"),
        energies=converged("results/{run}/train/gen{gen}/energies.csv"),
    output:
        pdf="results/{run}/figures/fig3a_errors.pdf",
        svg=report(
            "results/{run}/figures/fig3a_errors.svg",
            caption="../workflow/report/fig3a_errors.rst",
            category="Accuracy",
            labels={"figure": "fig3a_errors"},
        ),
        png="results/{run}/figures/fig3a_errors.png",
        csv="results/{run}/figures/fig3a_errors.csv",
    log:
        "results/{run}/logs/figures/fig3a_errors.log",
    params:
        code=code("fig3a_errors", "figures"),
        stem="results/{run}/figures/fig3a_errors",
        style=section("figures"),
        caption=dict(
            test=", ".join(CFG.train.test_configurations) or "none",
            engine=CFG.engine.name,
        ),
    script:
        "../workflow/scripts/fig3a_errors.py"


rule calibration:
    input:
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
    output:
        pdf="results/{run}/figures/calibration.pdf",
        svg=report(
            "results/{run}/figures/calibration.svg",
            caption="../workflow/report/calibration.rst",
            category="Accuracy",
            labels={"figure": "calibration"},
        ),
        png="results/{run}/figures/calibration.png",
        csv="results/{run}/figures/calibration.csv",
    log:
        "results/{run}/logs/figures/calibration.log",
    params:
        code=code("calibration", "figures"),
        stem="results/{run}/figures/calibration",
        style=section("figures"),
        caption=dict(
            members=len(CFG.train.members),
        ),
    script:
        "../workflow/scripts/calibration.py"


rule left_out_errors:
    input:
        folds=expand("results/{{run}}/train/folds/{fold}.csv", fold=range(CFG.train.folds)),
    output:
        pdf="results/{run}/figures/left_out_errors.pdf",
        svg=report(
            "results/{run}/figures/left_out_errors.svg",
            caption="../workflow/report/left_out_errors.rst",
            category="Accuracy",
            labels={"figure": "left_out_errors"},
        ),
        png="results/{run}/figures/left_out_errors.png",
        csv="results/{run}/figures/left_out_errors.csv",
    log:
        "results/{run}/logs/figures/left_out_errors.log",
    params:
        code=code("left_out_errors", "figures"),
        stem="results/{run}/figures/left_out_errors",
        style=section("figures"),
        caption=dict(folds=CFG.train.folds),
    script:
        "../workflow/scripts/left_out_errors.py"


rule fig4_neb:
    input:
        profiles="results/{run}/neb/profiles.csv",
        barriers="results/{run}/neb/barriers.csv",
        images=all_paths("results/{run}/neb/{path}.images.extxyz"),
    output:
        pdf="results/{run}/figures/fig4_neb.pdf",
        svg=report(
            "results/{run}/figures/fig4_neb.svg",
            caption="../workflow/report/fig4_neb.rst",
            category="Diffusion",
            labels={"figure": "fig4_neb"},
        ),
        png="results/{run}/figures/fig4_neb.png",
        csv="results/{run}/figures/fig4_neb.csv",
    log:
        "results/{run}/logs/figures/fig4_neb.log",
    params:
        code=code("fig4_neb", "figures"),
        stem="results/{run}/figures/fig4_neb",
        style=section("figures"),
        caption=dict(
            ion=CFG.structures.mobile_ion,
            paths=", ".join(f"{number}: {path.name}" for number, path in enumerate(CFG.neb.paths, start=1)),
            images=CFG.neb.images,
            engine=CFG.engine.name if CFG.neb.reference else "",
        ),
    script:
        "../workflow/scripts/fig4_neb.py"


rule fig5_exchange:
    input:
        analyses=all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        pdf="results/{run}/figures/fig5_exchange.pdf",
        svg=report(
            "results/{run}/figures/fig5_exchange.svg",
            caption="../workflow/report/fig5_exchange.rst",
            category="Diffusion",
            labels={"figure": "fig5_exchange"},
        ),
        png="results/{run}/figures/fig5_exchange.png",
        csv="results/{run}/figures/fig5_exchange.csv",
    log:
        "results/{run}/logs/figures/fig5_exchange.log",
    params:
        code=code("fig5_exchange", "figures", "diffusion", "structures"),
        stem="results/{run}/figures/fig5_exchange",
        style=section("figures"),
        diffusion=section("diffusion", without=["min_jumps_to_fit", "min_temperatures_to_fit"]),
        caption=dict(
            ion=CFG.structures.mobile_ion,
            site=CFG.structures.preferred_site,
            window=CFG.diffusion.concerted_window_ps,
            radius=CFG.diffusion.site_radius_A,
        ),
    script:
        "../workflow/scripts/fig5_exchange.py"


rule fig6_concerted:
    input:
        concerted="results/{run}/diffusion/concerted.csv",
    output:
        pdf="results/{run}/figures/fig6_concerted.pdf",
        svg=report(
            "results/{run}/figures/fig6_concerted.svg",
            caption="../workflow/report/fig6_concerted.rst",
            category="Diffusion",
            labels={"figure": "fig6_concerted"},
        ),
        png="results/{run}/figures/fig6_concerted.png",
        csv="results/{run}/figures/fig6_concerted.csv",
    log:
        "results/{run}/logs/figures/fig6_concerted.log",
    params:
        code=code("fig6_concerted", "figures", "diffusion/counting.py"),
        stem="results/{run}/figures/fig6_concerted",
        style=section("figures"),
        caption=dict(
            window=CFG.diffusion.concerted_window_ps,
            distance=CFG.diffusion.concerted_distance_A,
        ),
    script:
        "../workflow/scripts/fig6_concerted.py"


rule fig7_diffusivity:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
    output:
        pdf="results/{run}/figures/fig7_diffusivity.pdf",
        svg=report(
            "results/{run}/figures/fig7_diffusivity.svg",
            caption="../workflow/report/fig7_diffusivity.rst",
            category="Diffusion",
            labels={"figure": "fig7_diffusivity"},
        ),
        png="results/{run}/figures/fig7_diffusivity.png",
        csv="results/{run}/figures/fig7_diffusivity.csv",
    log:
        "results/{run}/logs/figures/fig7_diffusivity.log",
    params:
        code=code("fig7_diffusivity", "figures", "diffusion/counting.py"),
        stem="results/{run}/figures/fig7_diffusivity",
        style=section("figures"),
        caption=dict(
            length=CFG.production.length_ps,
            replicas=CFG.production.replicas,
            distance=CFG.diffusion.jump_distance_A,
            jumps=CFG.diffusion.min_jumps_to_fit,
        ),
    script:
        "../workflow/scripts/fig7_diffusivity.py"


rule fig8_arrhenius:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
    output:
        pdf="results/{run}/figures/fig8_arrhenius.pdf",
        svg=report(
            "results/{run}/figures/fig8_arrhenius.svg",
            caption="../workflow/report/fig8_arrhenius.rst",
            category="Diffusion",
            labels={"figure": "fig8_arrhenius"},
        ),
        png="results/{run}/figures/fig8_arrhenius.png",
        csv="results/{run}/figures/fig8_arrhenius.csv",
    log:
        "results/{run}/logs/figures/fig8_arrhenius.log",
    params:
        code=code("fig8_arrhenius", "figures", "diffusion/counting.py"),
        stem="results/{run}/figures/fig8_arrhenius",
        style=section("figures"),
        caption=dict(
            jumps=CFG.diffusion.min_jumps_to_fit,
            temperatures=CFG.diffusion.min_temperatures_to_fit,
        ),
    script:
        "../workflow/scripts/fig8_arrhenius.py"


rule fig9_jumps_vs_msd:
    input:
        diffusivities="results/{run}/diffusion/diffusivities.csv",
    output:
        pdf="results/{run}/figures/fig9_jumps_vs_msd.pdf",
        svg=report(
            "results/{run}/figures/fig9_jumps_vs_msd.svg",
            caption="../workflow/report/fig9_jumps_vs_msd.rst",
            category="Diffusion",
            labels={"figure": "fig9_jumps_vs_msd"},
        ),
        png="results/{run}/figures/fig9_jumps_vs_msd.png",
        csv="results/{run}/figures/fig9_jumps_vs_msd.csv",
    log:
        "results/{run}/logs/figures/fig9_jumps_vs_msd.log",
    params:
        code=code("fig9_jumps_vs_msd", "figures", "diffusion/counting.py"),
        stem="results/{run}/figures/fig9_jumps_vs_msd",
        style=section("figures"),
        caption=dict(
            first=CFG.diffusion.msd_fit[0],
            last=CFG.diffusion.msd_fit[1],
        ),
    script:
        "../workflow/scripts/fig9_jumps_vs_msd.py"


rule site_occupancy:
    input:
        occupancy="results/{run}/diffusion/occupancy.csv",
        sites="results/{run}/diffusion/sites.csv",
    output:
        pdf="results/{run}/figures/site_occupancy.pdf",
        svg=report(
            "results/{run}/figures/site_occupancy.svg",
            caption="../workflow/report/site_occupancy.rst",
            category="Diffusion",
            labels={"figure": "site_occupancy"},
        ),
        png="results/{run}/figures/site_occupancy.png",
        csv="results/{run}/figures/site_occupancy.csv",
    log:
        "results/{run}/logs/figures/site_occupancy.log",
    params:
        code=code("site_occupancy", "figures"),
        stem="results/{run}/figures/site_occupancy",
        style=section("figures"),
        caption=dict(
            radius=CFG.diffusion.site_radius_A,
            persistence=CFG.diffusion.persistence_fs,
        ),
    script:
        "../workflow/scripts/site_occupancy.py"


rule cell_sizes:
    input:
        analyses=all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
    output:
        pdf="results/{run}/figures/cell_sizes.pdf",
        svg=report(
            "results/{run}/figures/cell_sizes.svg",
            caption="../workflow/report/cell_sizes.rst",
            category="Diffusion",
            labels={"figure": "cell_sizes"},
        ),
        png="results/{run}/figures/cell_sizes.png",
        csv="results/{run}/figures/cell_sizes.csv",
    log:
        "results/{run}/logs/figures/cell_sizes.log",
    params:
        code=code("cell_sizes", "figures", "diffusion"),
        stem="results/{run}/figures/cell_sizes",
        style=section("figures"),
        diffusion=section("diffusion"),
        caption=dict(
            grid=cell_name(CFG.production.supercell),
        ),
    script:
        "../workflow/scripts/cell_sizes.py"


rule orderings:
    input:
        visits=[f"results/{{run}}/basins/{name}.csv" for name in layout.production_structures(CFG.production)],
    output:
        pdf="results/{run}/figures/orderings.pdf",
        svg=report(
            "results/{run}/figures/orderings.svg",
            caption="../workflow/report/orderings.rst",
            category="Diffusion",
            labels={"figure": "orderings"},
        ),
        png="results/{run}/figures/orderings.png",
        csv="results/{run}/figures/orderings.csv",
    log:
        "results/{run}/logs/figures/orderings.log",
    params:
        code=code("orderings", "figures", "basins/orderings.py"),
        stem="results/{run}/figures/orderings",
        structures=section("structures"),
        style=section("figures"),
        caption=dict(
            steps=CFG.basins.steps,
            preferred=CFG.structures.preferred_site,
        ),
    script:
        "../workflow/scripts/orderings.py"


rule van_hove:
    input:
        van_hove="results/{run}/diffusion/van_hove.csv",
    output:
        pdf="results/{run}/figures/van_hove.pdf",
        svg=report(
            "results/{run}/figures/van_hove.svg",
            caption="../workflow/report/van_hove.rst",
            category="Diffusion",
            labels={"figure": "van_hove"},
        ),
        png="results/{run}/figures/van_hove.png",
        csv="results/{run}/figures/van_hove.csv",
    log:
        "results/{run}/logs/figures/van_hove.log",
    params:
        code=code("van_hove", "figures"),
        stem="results/{run}/figures/van_hove",
        style=section("figures"),
        caption=dict(
            ion=CFG.structures.mobile_ion,
            lags=", ".join(f"{lag:g}" for lag in CFG.diffusion.van_hove_lags_ps),
        ),
    script:
        "../workflow/scripts/van_hove.py"


rule table2_activation:
    input:
        arrhenius="results/{run}/diffusion/arrhenius.csv",
    output:
        pdf="results/{run}/figures/table2_activation.pdf",
        svg=report(
            "results/{run}/figures/table2_activation.svg",
            caption="../workflow/report/table2_activation.rst",
            category="Diffusion",
            labels={"figure": "table2_activation"},
        ),
        png="results/{run}/figures/table2_activation.png",
        csv="results/{run}/figures/table2_activation.csv",
    log:
        "results/{run}/logs/figures/table2_activation.log",
    params:
        code=code("table2_activation", "figures"),
        stem="results/{run}/figures/table2_activation",
        style=section("figures"),
        caption=dict(
            ion=CFG.structures.mobile_ion,
        ),
    script:
        "../workflow/scripts/table2_activation.py"


rule density_errors:
    input:
        errors="results/{run}/density/errors.csv",
        history="results/{run}/density/history.csv",
    output:
        pdf="results/{run}/figures/density_errors.pdf",
        svg=report(
            "results/{run}/figures/density_errors.svg",
            caption="../workflow/report/density_errors.rst",
            category="Electrons",
            labels={"figure": "density_errors"},
        ),
        png="results/{run}/figures/density_errors.png",
        csv="results/{run}/figures/density_errors.csv",
    log:
        "results/{run}/logs/figures/density_errors.log",
    params:
        code=code("density_errors", "figures"),
        stem="results/{run}/figures/density_errors",
        style=section("figures"),
        caption=dict(
            test=", ".join(density_test_configurations()["ids"]) or "none",
            points=CFG.density.points_per_structure,
        ),
    script:
        "../workflow/scripts/density_errors.py"


rule density_slices:
    input:
        slices="results/{run}/density/slices.json",
    output:
        pdf="results/{run}/figures/density_slices.pdf",
        svg=report(
            "results/{run}/figures/density_slices.svg",
            caption="../workflow/report/density_slices.rst",
            category="Electrons",
            labels={"figure": "density_slices"},
        ),
        png="results/{run}/figures/density_slices.png",
        csv="results/{run}/figures/density_slices.csv",
    log:
        "results/{run}/logs/figures/density_slices.log",
    params:
        code=code("density_slices", "figures"),
        stem="results/{run}/figures/density_slices",
        style=section("figures"),
        caption=dict(
            engine=CFG.engine.name,
            element=CFG.structures.redox_element,
        ),
    script:
        "../workflow/scripts/density_slices.py"


rule fig3b_bader:
    input:
        charges="results/{run}/charges/reference.csv",
    output:
        pdf="results/{run}/figures/fig3b_bader.pdf",
        svg=report(
            "results/{run}/figures/fig3b_bader.svg",
            caption="../workflow/report/fig3b_bader.rst",
            category="Electrons",
            labels={"figure": "fig3b_bader"},
        ),
        png="results/{run}/figures/fig3b_bader.png",
        csv="results/{run}/figures/fig3b_bader.csv",
    log:
        "results/{run}/logs/figures/fig3b_bader.log",
    params:
        code=code("fig3b_bader", "figures"),
        stem="results/{run}/figures/fig3b_bader",
        style=section("figures"),
        caption=dict(
            element=CFG.structures.redox_element,
            engine=CFG.engine.name,
            test=", ".join(density_test_configurations()["ids"]) or "none",
        ),
    script:
        "../workflow/scripts/fig3b_bader.py"


rule fig3c_histogram:
    input:
        charges="results/{run}/charges/reference.csv",
        states="results/{run}/charges/states.csv",
        mixture="results/{run}/charges/oxidation.json",
    output:
        pdf="results/{run}/figures/fig3c_histogram.pdf",
        svg=report(
            "results/{run}/figures/fig3c_histogram.svg",
            caption="../workflow/report/fig3c_histogram.rst",
            category="Electrons",
            labels={"figure": "fig3c_histogram"},
        ),
        png="results/{run}/figures/fig3c_histogram.png",
        csv="results/{run}/figures/fig3c_histogram.csv",
    log:
        "results/{run}/logs/figures/fig3c_histogram.log",
    params:
        code=code("fig3c_histogram", "figures"),
        stem="results/{run}/figures/fig3c_histogram",
        style=section("figures"),
        caption=dict(
            element=CFG.structures.redox_element,
            engine=CFG.engine.name,
            interval=CFG.charges.every_fs,
        ),
    script:
        "../workflow/scripts/fig3c_histogram.py"


rule redox_table:
    input:
        table="results/{run}/charges/redox.csv",
    output:
        pdf="results/{run}/figures/redox_table.pdf",
        svg=report(
            "results/{run}/figures/redox_table.svg",
            caption="../workflow/report/redox_table.rst",
            category="Electrons",
            labels={"figure": "redox_table"},
        ),
        png="results/{run}/figures/redox_table.png",
        csv="results/{run}/figures/redox_table.csv",
    log:
        "results/{run}/logs/figures/redox_table.log",
    params:
        code=code("redox_table", "figures"),
        stem="results/{run}/figures/redox_table",
        style=section("figures"),
        caption=dict(
            element=CFG.structures.redox_element,
            ion=CFG.structures.mobile_ion,
            window=CFG.charges.hop_window_fs / 1000,
        ),
    script:
        "../workflow/scripts/redox_table.py"


rule fig10_jump:
    input:
        charges=all_trajectories("results/{run}/charges/{structure}_T{temperature}K.nc"),
        jumps=all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
        mixture="results/{run}/charges/oxidation.json",
    output:
        pdf="results/{run}/figures/fig10_jump.pdf",
        svg=report(
            "results/{run}/figures/fig10_jump.svg",
            caption="../workflow/report/fig10_jump.rst",
            category="Electrons",
            labels={"figure": "fig10_jump"},
        ),
        png="results/{run}/figures/fig10_jump.png",
        csv="results/{run}/figures/fig10_jump.csv",
    log:
        "results/{run}/logs/figures/fig10_jump.log",
    params:
        code=code("fig10_jump", "figures", "charges"),
        stem="results/{run}/figures/fig10_jump",
        style=section("figures"),
        charges=section("charges", without=["every_fs", "max_jumps", "spacing_A"]),
        caption=dict(
            element=CFG.structures.redox_element,
            ion=CFG.structures.mobile_ion,
        ),
    script:
        "../workflow/scripts/fig10_jump.py"


rule paper_comparison:
    input:
        **electrons("charges", "mixture", "redox"),
        **({"orderings": "results/{run}/figures/orderings.csv"} if CFG.basins.enabled else {}),
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=all_generations("results/{run}/gate/gen{gen}.json"),
        trajectories="results/{run}/diffusion/trajectories.csv",
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
        concerted="results/{run}/diffusion/concerted.csv",
        sites="results/{run}/diffusion/sites.csv",
        events="results/{run}/diffusion/events.csv",
    output:
        pdf="results/{run}/figures/paper_comparison.pdf",
        svg=report(
            "results/{run}/figures/paper_comparison.svg",
            caption="../workflow/report/paper_comparison.rst",
            category="The paper",
            labels={"figure": "paper_comparison"},
        ),
        png="results/{run}/figures/paper_comparison.png",
        csv="results/{run}/figures/paper_comparison.csv",
    log:
        "results/{run}/logs/figures/paper_comparison.log",
    params:
        code=code("paper_comparison", "figures", "paper", "basins/orderings.py", "diffusion/counting.py"),
        stem="results/{run}/figures/paper_comparison",
        style=section("figures"),
        caption=dict(
            run=CFG.run,
        ),
    script:
        "../workflow/scripts/paper_comparison.py"


# To turn and to play: a page of its own in the report.
rule jump_view:
    input:
        analyses=all_trajectories("results/{run}/diffusion/{structure}_T{temperature}K.nc"),
        trajectories=all_trajectories("results/{run}/production/{structure}_T{temperature}K.h5"),
    output:
        page=report(
            "results/{run}/figures/jump_view.html",
            caption="../workflow/report/jump_view.rst",
            category="Diffusion",
            labels={"figure": "jump_view"},
        ),
    log:
        "results/{run}/logs/figures/jump_view.log",
    params:
        code=code("jump_view", "figures", "figures/assets/jump_view.html", "diffusion"),
        caption=dict(ion=CFG.structures.mobile_ion),
    script:
        "../workflow/scripts/jump_view.py"


# The headline numbers, for `redoxmd status`.
rule summary:
    input:
        **electrons("density_errors", "charges", "mixture"),
        ensemble=converged("results/{run}/train/gen{gen}/ensemble.json"),
        decisions=all_generations("results/{run}/gate/gen{gen}.json"),
        diffusivities="results/{run}/diffusion/diffusivities.csv",
        arrhenius="results/{run}/diffusion/arrhenius.csv",
        concerted="results/{run}/diffusion/concerted.csv",
        sites="results/{run}/diffusion/sites.csv",
        folds=expand("results/{{run}}/train/folds/{fold}.csv", fold=range(CFG.train.folds)),
    output:
        summary="results/{run}/summary.json",
    log:
        "results/{run}/logs/figures/summary.log",
    params:
        code=code("summary", "runs/run_tables.py"),
    script:
        "../workflow/scripts/summary.py"


# What every number was made from; for `redoxmd trace`.
rule manifest:
    input:
        figures=expand("results/{{run}}/figures/{figure}.csv", figure=FIGURES),
        view="results/{run}/figures/jump_view.html",
        summary="results/{run}/summary.json",
    output:
        manifest="results/{run}/manifest.json",
    log:
        "results/{run}/logs/figures/manifest.log",
    threads: cpus("manifest")
    resources:
        **needs("manifest"),
    params:
        config=plain(CFG),
        code=code("manifest", "runs/provenance.py"),
    script:
        "../workflow/scripts/manifest.py"
