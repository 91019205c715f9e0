"""Production: one trajectory of the converged ensemble, or many in one process."""

from redoxmd.production.run import Planned, ProductionRun, ProductionSummary, produce

__all__ = ["Planned", "ProductionRun", "ProductionSummary", "produce"]
