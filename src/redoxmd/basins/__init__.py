"""Lowest orderings by basin hopping."""
