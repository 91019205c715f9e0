"""A Slurm of one's own for tests: munged, slurmctld and slurmd on loopback, gone with the test."""

from tests.slurm.cluster import PrivateSlurm, missing_programs

__all__ = ["PrivateSlurm", "missing_programs"]
