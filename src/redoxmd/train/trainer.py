"""Training of one ensemble member: loss, optimiser, early stopping, exact resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from redoxmd.config.sections import Member, Train
from redoxmd.config.sections.train import replayed_frames
from redoxmd.errors import DataError
from redoxmd.model.files import load_record, member_from_record, member_record, save_record
from redoxmd.model.graph import collate
from redoxmd.model.painn import Painn
from redoxmd.model.training import run_training
from redoxmd.train.dataset import Dataset
from redoxmd.train.early_stopping import EarlyStopping, TrainingResult
from redoxmd.train.resident import resident_training
from redoxmd.train.samples import Sample, make_sample, structure_losses
from redoxmd.train.start import initial_model, reference_energies


def train_member(
    dataset: Dataset,
    member: Member,
    settings: Train,
    generation: int,
    seed: int,
    previous: Painn | None,
    checkpoint: Any,
    name: str = "member",
    pretrained: Painn | None = None,
    replay: Sequence[Atoms] = (),
) -> TrainingResult[Painn]:
    """Train one member by Adam with decay on plateau, EMA and early stopping on the validation loss.

    Args:
        dataset: frames with their sets.
        member: width and depth.
        settings: section `train`.
        generation: generation 0 uses the initial ρ and step limit, later ones those of active learning.
        seed: of this member; it determines weights and batches. The same seed gives the same weights on a CPU.
        previous: the member of the previous generation, whose weights are the start if `settings.warm_start`.
        checkpoint: `redoxmd.jobs.checkpoint.Checkpoint`; a training that was asked to stop continues from that step, a
            killed one from its last validation.
        name: for the log.
        pretrained: a member trained on labels of a teacher, whose weights are the start if `previous` is not. The
            reference energies are fitted to the training frames, so that those of the teacher have no effect.
        replay: frames of the teacher, a share `settings.replay` of each batch, with reference energies of their own.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
        DataError: `pretrained` lacks an element or state of the training frames.
    """
    trainer = Trainer(dataset, member, settings, generation, seed, previous, name, pretrained, replay)
    run_training(trainer, checkpoint.path("training.pt"))
    return trainer.result()


class Trainer(EarlyStopping[Painn, Sample]):
    """Training of a potential on energies and forces."""

    remedy = "train.learning_rate, or look for wrong labels (docs/silent-errors.md)"

    def __init__(
        self,
        dataset: Dataset,
        member: Member,
        settings: Train,
        generation: int,
        seed: int,
        previous: Painn | None,
        name: str,
        pretrained: Painn | None = None,
        replay: Sequence[Atoms] = (),
    ) -> None:
        self.rho = settings.rho_initial if generation == 0 else settings.rho_active
        max_steps = settings.max_steps if generation == 0 else settings.max_steps_active
        rate = settings.learning_rate if generation == 0 else settings.learning_rate_active
        model = initial_model(dataset, member, settings, seed, previous, pretrained, replay)
        self.replayed = replayed_frames(settings.replay, settings.batch_size) if replay else 0
        references = reference_energies(model, replay) if replay else None
        self.replay = [make_sample(frame, model, references) for frame in replay]
        training, validation = (
            [make_sample(frame, model) for frame in dataset.subset(subset)] for subset in ("train", "validation")
        )
        super().__init__(model, training, validation, settings, rate, max_steps, seed, name)
        self.drawable = [*training, *self.replay]
        self.resident = resident_training(self, self.rho)

    def batch_parts(self) -> list[tuple[int, int]]:
        """Frames of the reference and, with `replay`, of the teacher: their number, and that in each batch."""
        sizes = (self.settings.batch_size - self.replayed, self.replayed)
        counts = (len(self.training), len(self.replay))
        return [(count, min(size, count)) for count, size in zip(counts, sizes, strict=True) if size]

    def gradient_step(self) -> Tensor:
        """Take one optimiser step on the next batch and return its loss, without waiting for it."""
        if self.resident is None:
            return super().gradient_step()
        loss = self.resident.gradient_step()
        self.step += 1
        return loss

    def _validation_losses(self) -> Tensor:
        return super()._validation_losses() if self.resident is None else self.resident.validation_losses()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state of `state`, of a training on any device."""
        super().load_state(state)
        if self.resident is not None:
            self.resident.forget()

    def _loss(self, model: Painn, samples: Sequence[Sample], create_graph: bool) -> Tensor:
        graph = collate([sample.graph for sample in samples]).to(self.device, model.dtype)
        target_energy = torch.cat([sample.energy for sample in samples]).to(graph.vectors_A)
        target_forces = torch.cat([sample.forces for sample in samples]).to(graph.vectors_A)
        energy, forces, _ = model(graph, create_graph=create_graph)
        interaction = (energy - model.reference_energy(graph)).to(target_energy.dtype)
        return structure_losses(interaction, forces, target_energy, target_forces, graph.system, self.rho).mean()


def save_member(path: Any, result: TrainingResult[Any], metadata: dict[str, Any]) -> None:
    """Write a trained network with its history and metadata (key `about`), atomically."""
    record = {**member_record(result.member), "history": result.history, "best_step": result.best_step}
    save_record(path, {**record, "stopped": result.stopped, "about": metadata})


def load_member(path: Any) -> tuple[Painn, dict[str, Any]]:
    """A member and its record, read from a file.

    Raises:
        DataError: the file is missing or of another kind.
    """
    record = load_record(path)
    if not {"settings", "state"} <= record.keys():
        raise DataError(f"{path}: no member of an ensemble (member0.pt, …); an ensemble.pt holds all members together")
    return member_from_record({"settings": record["settings"], "state": record["state"]}), record
