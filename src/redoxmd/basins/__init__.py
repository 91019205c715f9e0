"""Orderings of lowest energy by basin hopping."""
