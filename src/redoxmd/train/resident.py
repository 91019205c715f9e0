"""Training on a GPU: labelled structures stay on the device, and gradient steps are replayed without waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from redoxmd.md.batched.replay import Replay
from redoxmd.model.graph import Blocks, Graph
from redoxmd.model.painn import Painn, pair_forces
from redoxmd.train.early_stopping import EarlyStopping
from redoxmd.train.samples import Sample, structure_losses

logger = logging.getLogger("redoxmd")

# Largest share of the memory of a GPU that the samples may take; a batch needs memory as well.
SHARE_OF_MEMORY = 0.25
# Batches are padded to the largest possible one, as a CUDA graph requires, if that adds at most this share to the mean.
LARGEST_PADDING = 0.25


@dataclass(frozen=True)
class Batch:
    """S structures and unused places as one graph, with targets.

    Attributes:
        graph: unused atoms belong to an additional structure S; unused pairs are beyond the cutoff.
        energy_eV: (S + 1,) interaction energies; the last one has no meaning.
        forces_eV_A: (n, 3); those of unused atoms have no meaning.
    """

    graph: Graph
    energy_eV: Tensor
    forces_eV_A: Tensor


class ResidentSamples:
    """Samples joined on a device, from which batches are gathered there without a wait for the device.

    Args:
        samples: at least one.
        device: where they stay.
        dtype: precision of a batch.
        cutoff_A: of the network.
    """

    def __init__(self, samples: Sequence[Sample], device: torch.device, dtype: torch.dtype, cutoff_A: float) -> None:
        self.device = device
        graphs = [sample.graph for sample in samples]
        counts = torch.tensor([[len(graph.species), len(graph.receiver)] for graph in graphs])
        self.counts: np.ndarray = counts.numpy()
        self._count, self._start = counts.to(device), (counts.cumsum(0) - counts).to(device)
        self._species = torch.cat([graph.species for graph in graphs]).to(device)
        self._pairs = torch.cat([torch.stack([graph.receiver, graph.sender], dim=1) for graph in graphs]).to(device)
        self._vectors_A = torch.cat([graph.vectors_A for graph in graphs]).to(device, dtype)
        self._energy_eV = torch.cat([sample.energy for sample in samples]).to(device, dtype)
        self._forces_eV_A = torch.cat([sample.forces for sample in samples]).to(device, dtype)
        self._far_A = torch.tensor([2 * cutoff_A, 0.0, 0.0], dtype=dtype).to(device)
        blocked = all(graph.blocks is not None for graph in graphs)
        self._block_width = int(self.counts[:, 0].max()) if blocked else None

    def size(self, numbers: Sequence[int]) -> tuple[int, int]:
        """Numbers of atoms and of pairs of some samples."""
        atoms, pairs = self.counts[list(numbers)].sum(axis=0).tolist()
        return atoms, pairs

    def batch(self, numbers: Tensor, size: tuple[int, int]) -> Batch:
        """The samples (S,) as one graph of `size` atoms and pairs, which are at least those of the samples."""
        structures, count = len(numbers), self._count[numbers]
        ends = count.cumsum(0)
        # Atoms and pairs before each structure in the batch, and in the joined samples; the last row: unused places.
        before = torch.nn.functional.pad(ends, (0, 0, 1, 0))
        start = torch.nn.functional.pad(self._start[numbers], (0, 0, 0, 1))
        (system, atom, row), (of, _, pair_row) = (
            _places(ends[:, kind].contiguous(), before[:, kind], start[:, kind], size[kind]) for kind in (0, 1)
        )
        used = of < structures
        local = self._pairs[pair_row]
        receiver, sender = ((local + before[:, 0][of][:, None]) * used[:, None]).unbind(dim=1)
        blocks = None
        if self._block_width is not None:
            width = self._block_width
            columns = before[:-1, :1] + torch.arange(width, device=self.device)
            slot = ((of * width + local[:, 1]) * width + local[:, 0]) * used
            in_block = (system * width + atom) * (system < structures)
            blocks = Blocks(columns.clamp(max=size[0] - 1), slot, in_block, width)
        vectors = torch.where(used[:, None], self._vectors_A[pair_row], self._far_A)
        volumes = vectors.new_ones(structures + 1)
        graph = Graph(self._species[row], system, receiver, sender, vectors, volumes, blocks)
        energy = torch.nn.functional.pad(self._energy_eV[numbers], (0, 1))
        return Batch(graph, energy, self._forces_eV_A[row])


def _places(ends: Tensor, before: Tensor, start: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Structure, place in it, and row among the joined samples of each place of a batch."""
    place = torch.arange(number, device=ends.device)
    system = torch.searchsorted(ends, place, right=True)
    local = place - before[system]
    return system, local, start[system] + local


def resident_losses(model: Painn, batch: Batch, rho: float, create_graph: bool) -> Tensor:
    """Loss (S,) of each structure of a batch, as `structure_losses`; differentiable by the weights if asked for."""
    vectors = batch.graph.vectors_A.requires_grad_()
    energy = model.interaction_energy(batch.graph)
    (gradient,) = torch.autograd.grad(energy[:-1].sum(), vectors, create_graph=create_graph)
    forces = pair_forces(batch.graph, gradient)
    return structure_losses(energy, forces, batch.energy_eV, batch.forces_eV_A, batch.graph.system, rho)[:-1]


class ResidentTraining:
    """Gradient steps and validations of a trainer with its samples on a GPU.

    The samples of all steps up to the next validation are drawn at once, the only copy to the device. A step is
    replayed as a CUDA graph if the structures are of similar size; otherwise each batch has its own size.
    """

    def __init__(self, trainer: EarlyStopping[Painn, Sample], rho: float) -> None:
        self.trainer, self.rho = trainer, rho
        device, model = torch.device(trainer.device), trainer.model
        samples = [*trainer.drawable, *trainer.validation]
        self.samples = ResidentSamples(samples, device, model.dtype, model.cutoff_A)
        self._fixed_size = self._largest_batch()
        captured = self._fixed_size is not None
        for group in trainer.optimiser.param_groups:
            group["capturable"] = captured
        steps = trainer.settings.validate_every
        self._numbers = torch.zeros(steps, len(trainer.batch_numbers(0)), dtype=torch.long, device=device)
        self._weights = torch.zeros(steps, device=device)
        self._row = torch.zeros(1, dtype=torch.long, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._drawn: range = range(0)
        self._rate = 0.0
        self._replay = Replay(self._work, device, captured, "gradient step")

    def _largest_batch(self) -> tuple[int, int] | None:
        """Atoms and pairs of the largest possible batch; None if batches are much smaller in the mean."""
        largest, mean = np.zeros(2), np.zeros(2)
        first = 0
        for count, size in self.trainer.batch_parts():
            counts = np.sort(self.samples.counts[first : first + count], axis=0)
            largest, mean = largest + counts[-size:].sum(axis=0), mean + size * counts.mean(axis=0)
            first += count
        if (largest > (1 + LARGEST_PADDING) * mean).any():
            return None
        atoms, pairs = largest.astype(int).tolist()
        return atoms, pairs

    @property
    def captured(self) -> bool:
        """Whether steps replay a CUDA graph."""
        return self._replay.captured

    def forget(self) -> None:
        """Prepare for another state of the optimiser, whose tensors were replaced."""
        self._replay.forget()
        self._drawn = range(0)

    def gradient_step(self) -> Tensor:
        """Take the next gradient step of the trainer and return its loss, which the next call overwrites."""
        trainer = self.trainer
        if trainer.step not in self._drawn:
            self._draw()
        rate = trainer.optimiser.param_groups[0]["lr"]
        if rate != self._rate:
            # A number in the graph.
            self._replay.forget()
            self._rate = rate
        self._size = self._fixed_size or self.samples.size(trainer.batch_numbers(trainer.step))
        self._replay(1)
        return self._loss

    def _draw(self) -> None:
        """Copy the samples of the next steps, and the weights of the averages, to the device."""
        trainer = self.trainer
        self._drawn = range(trainer.step, trainer.step + len(self._weights))
        self._numbers.copy_(torch.tensor([trainer.batch_numbers(step) for step in self._drawn]))
        self._weights.copy_(torch.tensor([1 - trainer.ema_decay(step + 1) for step in self._drawn]))
        self._row.zero_()

    def _work(self) -> None:
        numbers = self._numbers[self._row][0]
        batch = self.samples.batch(numbers, self._size)
        loss = resident_losses(self.trainer.model, batch, self.rho, create_graph=True).mean()
        self.trainer.descend(loss)
        self.trainer.average_weights(self._weights[self._row][0])
        self._loss.copy_(loss.detach())
        self._row.add_(1)

    def validation_losses(self) -> Tensor:
        """Losses (V,) of the averaged weights for each validation structure, or training structure if there is none."""
        trainer, losses = self.trainer, []
        first = len(trainer.drawable) if trainer.validation else 0
        count = len(trainer.validation) or len(trainer.training)
        for begin in range(first, first + count, trainer.settings.batch_size):
            numbers = range(begin, min(begin + trainer.settings.batch_size, first + count))
            index = torch.arange(numbers.start, numbers.stop, device=self.samples.device)
            batch = self.samples.batch(index, self.samples.size(numbers))
            losses.append(resident_losses(trainer.averaged, batch, self.rho, create_graph=False).detach())
        return torch.cat(losses)


def resident_training(trainer: EarlyStopping[Painn, Sample], rho: float) -> ResidentTraining | None:
    """Training with the samples on the GPU of a trainer; None on a CPU, or, with a line in the log, without room."""
    device = torch.device(trainer.device)
    if device.type != "cuda":
        return None
    samples = [*trainer.drawable, *trainer.validation]
    needed = sum(_bytes_of(sample) for sample in samples)
    memory = torch.cuda.get_device_properties(device).total_memory
    if needed > SHARE_OF_MEMORY * memory:
        logger.warning(
            "%s: %d frames need %.1f GB, more than %.0f %% of the memory of the GPU (%.1f GB); they stay on the host, "
            "and each step copies its batch, which is slower",
            *(trainer.name, len(samples), needed / 1e9, 100 * SHARE_OF_MEMORY, memory / 1e9),
        )
        return None
    return ResidentTraining(trainer, rho)


def _bytes_of(sample: Sample) -> int:
    """Memory of a sample in `ResidentSamples`: two indices and a vector per pair, species and force per atom."""
    return 28 * len(sample.graph.receiver) + 20 * len(sample.graph.species) + 36
