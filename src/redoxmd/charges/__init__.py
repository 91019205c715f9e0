"""Bader charges, oxidation states and electron hops from densities."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "bader": ("Partition", "partition"),
        "event": ("JumpEvent", "describe_best_jump"),
        "hops": ("Hops", "find_hops", "relate_to_jumps"),
        "oxidation": ("OxidationModel", "OxidationStates", "assign_states", "fit_oxidation", "fit_record"),
        "redox": ("analyse_redox", "oxidation_table"),
        "summary": ("RedoxSummary", "summarise_redox"),
        "tables": ("frames_to_charge", "reference_charges", "trajectory_charges"),
    },
)
