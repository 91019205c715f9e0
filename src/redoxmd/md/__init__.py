"""Molecular dynamics with the ensemble, and the gate on its frames."""
