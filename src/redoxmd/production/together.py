"""Many production trajectories in one process: so many side by side, the next one entering where one has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.md.batched.batch import BatchMD, DeviceMD
from redoxmd.model.ensemble import Ensemble
from redoxmd.production.run import Planned, ProductionRun, ProductionSummary


def produce_together(planned: Sequence[Planned], ensemble: Ensemble, at_once: int) -> list[ProductionSummary]:
    """Make trajectories, `at_once` of them at a time, each as `redoxmd.production.produce` makes it alone.

    Each has its own cell, length, temperature, gate, restart files and output, all written by it alone: what was
    stopped goes on alone or in any batch, and one that is complete already is only written out. Asked to stop, all
    write their states.

    Raises:
        Interrupted: asked to stop before all were done.
    """
    if not planned:
        return []
    batch = BatchMD(ensemble, min(at_once, len(planned)), max(len(one.atoms) for one in planned))
    waiting = deque(range(len(planned)))
    running: dict[int, tuple[int, ProductionRun, DeviceMD]] = {}
    summaries: dict[int, ProductionSummary] = {}

    def settle() -> None:
        """Read what was seen; let those that have ended leave and the next ones enter."""
        for slot, (number, run, md) in list(running.items()):
            while not run.ended and md.pending:
                run.advance()
            if run.ended:
                summaries[number] = run.finish()
                del running[slot]
                batch.leave(slot)
        for slot in range(batch.slots.count):
            while slot not in running and waiting:
                number = waiting.popleft()
                one = planned[number]
                md = batch.enter(slot, one.atoms, one.langevin, one.gate)
                run = ProductionRun(one, md)
                if run.ended:
                    summaries[number] = run.finish()
                    batch.leave(slot)
                else:
                    running[slot] = number, run, md

    with stop_on_sigterm() as stop:
        settle()
        while running:
            batch.advance()
            settle()
            for _, run, _ in running.values():
                if stop.asked or run.due:
                    run.save()
            if running:
                stop.check(f"with {len(summaries)} of {len(planned)} trajectories done")
    return [summaries[number] for number in range(len(planned))]
