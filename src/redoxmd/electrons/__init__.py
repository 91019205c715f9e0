"""Oxidation states of the redox atoms: assignment from moments, verdict on a label, moves, moment network, tables."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "hops": ("HopSummary", "analyse_hops", "find_returns", "follow_states", "summarise_hops"),
        "moment_checks": ("check_trajectory", "compare_moment_states", "left_out_states"),
        "moment_tables": ("moment_errors", "pool_configurations", "trajectory_agreement"),
        "moments": ("MomentNetwork", "load_moments", "train_moments"),
        "moves": (
            *("ElectronMove", "MovedState", "count_assignments", "descend", "find_lowest", "initial_assignment"),
            *("metropolis", "neighbour_pairs", "neighbour_swaps", "neutral_assignments", "swapped"),
        ),
        "search": ("StateSearch",),
        "states": ("OxidationLevels", "StateAssignment", "assign_oxidation", "judge_state", "set_oxidation"),
        "table": ("StatesReport", "summarise_states", "tabulate_states"),
    },
)
