"""Oxidation states of the redox atoms: assignment from moments, verdict on a label, tables of finished calculations."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "states": ("OxidationLevels", "StateAssignment", "assign_oxidation", "judge_state", "set_oxidation"),
        "table": ("StatesReport", "summarise_states", "tabulate_states"),
    },
)
