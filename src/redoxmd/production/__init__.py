"""Production MD with the converged ensemble: one trajectory, or many in one process."""

from redoxmd.production.batch import run_batch
from redoxmd.production.run import ProductionRun, ProductionSummary, TrajectorySpec, produce, trajectory_spec

__all__ = ["ProductionRun", "ProductionSummary", "TrajectorySpec", "produce", "run_batch", "trajectory_spec"]
