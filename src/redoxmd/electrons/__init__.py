"""Oxidation states of the redox atoms: assignment, checks."""
