"""Production MD of many trajectories in one process, a fixed number of them side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.ensemble import BatchMD, TrajectoryMD
from redoxmd.md.forces import ForceEvaluator
from redoxmd.production.run import ProductionRun, ProductionSummary, TrajectorySpec


def run_batch(specs: Sequence[TrajectorySpec], evaluator: ForceEvaluator, slots: int) -> list[ProductionSummary]:
    """Run trajectories, at most `slots` at a time, each as `redoxmd.production.produce` runs it alone.

    Each trajectory has its own cell, length, temperature, gate, restart files and output: a trajectory that was stopped
    continues alone or in any batch, and a complete one is only written out. On a stop request all states are saved.

    Raises:
        Interrupted: asked to stop before all were done.
    """
    if not specs:
        return []
    places = max(len(spec.atoms) for spec in specs)
    batch = BatchMD(evaluator, min(slots, len(specs)), places, electrons=specs[0].electrons)
    waiting = deque(range(len(specs)))
    running: dict[int, tuple[int, ProductionRun, TrajectoryMD]] = {}
    summaries: dict[int, ProductionSummary] = {}

    def process_steps() -> None:
        """Process all unread steps, free the slots of ended trajectories, and start waiting ones there."""
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
                spec = specs[number]
                md = batch.enter(slot, spec.atoms, spec.langevin, spec.gate)
                run = ProductionRun(spec, md)
                if run.ended:
                    summaries[number] = run.finish()
                    batch.leave(slot)
                else:
                    running[slot] = number, run, md

    def position() -> str:
        steps = sum(run.steps_done for _, run, _ in running.values())
        return f"at {steps} steps of the active ones, with {len(summaries)} of {len(specs)} trajectories done"

    def advance(stop: StopRequest) -> Iterator[str]:
        process_steps()
        yield position()
        while running:
            batch.advance()
            process_steps()
            if running:
                yield position()

    def save() -> None:
        for _, run, _ in running.values():
            run.save()

    run_resumable(advance, save, min(spec.settings.checkpoint_every_s for spec in specs))
    return [summaries[number] for number in range(len(specs))]
