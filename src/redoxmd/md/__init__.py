"""Molecular dynamics with the ensemble, and the gate on its frames."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ensemble": ("BatchMD", "StepResult", "TrajectoryMD", "ensemble_md"),
        "evaluators": ("HostEvaluator", "force_evaluator"),
        "forces": ("ForceEvaluator", "MemberForces"),
        "frame_gate": ("GateOutcome", "GateSettings", "Guard", "classify_spread"),
        "langevin": ("Langevin", "MDState"),
        "relaxation": ("relax",),
    },
)
