"""Training of the density model on random grid points with a squared error and exact resume."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redoxmd.config.sections import DensitySettings as Settings
from redoxmd.density.dataset import DensitySet
from redoxmd.density.grid import nmae_percent
from redoxmd.density.model import DensityModel
from redoxmd.density.network import DensityNetwork, Encoded
from redoxmd.density.probes import ProbePairs, probe_block
from redoxmd.density.sampling import PointPool
from redoxmd.density.store import split_key
from redoxmd.density.superposition import fit_superposition
from redoxmd.errors import DataError, StructureError
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.model.constant import Constant
from redoxmd.model.files import choose_device
from redoxmd.model.training import check_loss, run_training
from redoxmd.seeds import derive_rng, derive_seed
from redoxmd.train.dataset import find_species

logger = logging.getLogger("redoxmd")

WARM_UP_STEPS = 100
GRADIENT_NORM_LIMIT = 10.0
VALIDATION_POINTS = 4000
SCALE_POINTS = 2000


@dataclass(frozen=True)
class DensityTraining:
    """A trained density model and the history of its training.

    Attributes:
        model: density model with averaged weights.
        history: one row per validation: step, learning rate, losses, NMAE in percent.
        best_step: gradient step of the weights of `model`.
    """

    model: DensityModel
    history: list[dict[str, float]]
    best_step: int


def train_density(
    training: DensitySet,
    validation: DensitySet,
    redox_element: int,
    settings: Settings,
    seed: int,
    checkpoint: Checkpoint,
) -> DensityTraining:
    """Train one density model (paper, section 2.5).

    Each step takes `structures_per_step` densities and `points_per_structure` of their points; the loss is the squared
    error of total and spin, each in units of its standard deviation over the training points; the target is the
    difference from the superposed atoms unless `target` is plain. The optimiser is Adam with warm-up and cosine decay.
    The result has the running average of the weights at the smallest validation NMAE (geometric mean of total and
    spin). The same seed gives the same model on a CPU; an interrupted training continues from its last validation.

    Raises:
        DataError: there is no training density; with `settings.states` aware, a density has no oxidation states, or
            a validation density one that no training density has.
        TrainingDiverged: the loss became NaN or infinite.
    """
    trainer = DensityTrainer(training, validation, redox_element, settings, seed)
    run_training(trainer, checkpoint.path("density.pt"))
    return trainer.result()


class DensityTrainer:
    """The state of one training and the steps that advance it."""

    def __init__(
        self,
        training: DensitySet,
        validation: DensitySet,
        redox_element: int,
        settings: Settings,
        seed: int,
    ) -> None:
        if not len(training):
            raise DataError("no density to train on; keep some (aimd.density_every) or name density.stores")
        self.settings, self.seed = settings, seed
        self.device = choose_device(settings.device)
        structures, compositions = [], []
        for key, density in training.items():
            atoms = density.atoms
            atoms.info["config_id"], atoms.info["step"] = split_key(key)
            structures.append(atoms)
            compositions.append((density.numbers, density.valence_e))
        elements = sorted({int(z) for numbers, _ in compositions for z in numbers})
        species, states = find_species(structures, settings.states, "density.states")
        rng = derive_rng(seed, "superposition")
        self.superposition = fit_superposition(training, elements, settings.cutoff_A, rng)
        self.valence = {
            int(z): float(v) for numbers, values in compositions for z, v in zip(numbers, values, strict=True)
        }
        torch.manual_seed(derive_seed(seed, "weights"))
        self.network = DensityNetwork(
            species,
            settings.features,
            settings.layers,
            settings.cutoff_A,
            settings.radial_functions,
            settings.probe_functions,
            settings.multipole_reach_A,
            states,
        ).to(self.device)
        self.training = self._pools(training, redox_element)
        self.validation = self._pools(validation, redox_element)
        self.scale = self._scale()
        self._scale_on_device = Constant(torch.from_numpy(self.scale))
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.step = self.best_step = 0
        self.best_score = float("inf")
        self.best_state = copy.deepcopy(self.averaged.state_dict())
        self.history: list[dict[str, float]] = []
        # Tensors of the device, which are read at the end of the interval.
        self.interval_losses: list[Tensor] = []
        self.progress = Progress("density model", settings.max_steps)

    def _pools(self, densities: DensitySet, redox_element: int) -> list[PointPool]:
        network, pools = self.network, []
        for key, density in densities.items():
            redox = np.flatnonzero(density.numbers == redox_element)
            rng = derive_rng(self.seed, "points", key)
            try:
                pool = PointPool(
                    density,
                    network.elements,
                    network.cutoff_A,
                    redox,
                    self.settings,
                    rng,
                    network.states,
                    self.device,
                )
            except StructureError as error:
                raise DataError(f"density {key}: {error}") from error
            pools.append(pool)
        return pools

    def _scale(self) -> np.ndarray:
        """Standard deviation (2,) of the targets over points drawn as in training."""
        rng = derive_rng(self.seed, "scale")
        residuals = []
        for pool in self.training:
            chosen = torch.from_numpy(pool.draw(SCALE_POINTS, self.settings.redox_fraction, rng)).to(self.device)
            target = self._target(pool, chosen, pool.pairs(chosen, self.settings.cutoff_A))
            residuals.append(target.cpu().numpy())
        deviation: np.ndarray = np.maximum(np.concatenate(residuals).std(axis=0), 1e-6)
        return deviation

    @property
    def ended(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.settings.max_steps

    def run_interval(self, stop: StopRequest | None = None) -> None:
        """Take gradient steps up to the next validation and validate; return at once on a stop request."""
        start = self.step - len(self.interval_losses)
        until = min(start + self.settings.validate_every, self.settings.max_steps)
        while self.step < until:
            if stop is not None and stop.asked:
                return
            self.interval_losses.append(self.gradient_step())
            self.progress.update(self.step, f"validation NMAE {self.best_score:.3g} %")
        self._validate(float(np.mean(self._losses_read())))
        self.interval_losses = []

    def _losses_read(self) -> list[float]:
        """Losses of the steps since the last validation."""
        losses: list[float] = torch.stack(self.interval_losses).tolist() if self.interval_losses else []
        return losses

    def gradient_step(self) -> Tensor:
        """Take one step of the optimiser and return its loss, without reading it."""
        settings = self.settings
        rate = self._learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        rng = derive_rng(self.seed, "step", self.step)
        size = min(settings.structures_per_step, len(self.training))
        terms = []
        for number in rng.choice(len(self.training), size, replace=False):
            pool = self.training[number]
            chosen = pool.draw(settings.points_per_structure, settings.redox_fraction, rng)
            output, target = self._evaluate(self.network, self._encode(self.network, pool), pool, chosen)
            terms.append(((output - target) ** 2).mean())
        loss = torch.stack(terms).mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM_LIMIT)
        self.optimiser.step()
        self.step += 1
        self._average()
        return loss.detach().double()

    def _learning_rate(self) -> float:
        warm_up = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        decay = 0.5 * (1 + np.cos(np.pi * self.step / self.settings.max_steps))
        return float(self.settings.learning_rate * warm_up * max(decay, 0.01))

    def _average(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _encode(self, network: DensityNetwork, pool: PointPool) -> Encoded:
        return network.encode(pool.graph.to(self.device, network.dtype))

    def _evaluate(
        self, network: DensityNetwork, encoded: Encoded, pool: PointPool, chosen: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Outputs and targets (P, 2) at the chosen points of a structure, in units of the scale."""
        index = torch.from_numpy(chosen).to(self.device)
        pairs = pool.pairs(index, network.cutoff_A)
        output = network(encoded, probe_block(pairs, len(pool.species), network))
        target = self._target(pool, index, pairs)
        return output, (target / self._scale_on_device.like(target)).to(output)

    def _target(self, pool: PointPool, chosen: Tensor, pairs: ProbePairs) -> Tensor:
        """Target (P, 2) of the network before scaling, in e/Å³."""
        reference = pool.values_e_A3[chosen]
        if self.settings.target == "plain":
            return reference
        return reference - self.superposition.at_probes(pairs, pool.species)

    @torch.no_grad()
    def _validate(self, training_loss: float) -> None:
        pools = self.validation or self.training
        losses, predicted, reference = [], [], []
        for pool in pools:
            encoded = self._encode(self.averaged, pool)
            count = min(VALIDATION_POINTS, pool.sizes[0])
            for chosen in np.array_split(np.arange(count), max(1, count // 1000)):
                output, target = self._evaluate(self.averaged, encoded, pool, chosen)
                losses.append(((output - target) ** 2).mean())
                reference.append(pool.values_e_A3[chosen].cpu().numpy())
                predicted.append(reference[-1] + (output - target).cpu().double().numpy() * self.scale)
        loss = float(np.mean(torch.stack(losses).double().tolist()))
        check_loss("density model", self.step, training_loss, loss, "density.learning_rate")
        percent = np.nan_to_num(nmae_percent(np.concatenate(predicted), np.concatenate(reference)))
        # A few points near wrongly oriented orbitals dominate the squared error; the NMAE weighs all points.
        score = float(np.sqrt(percent[0] * max(percent[1], 1e-6)))
        self.history.append(
            {
                "step": self.step,
                "learning_rate": self._learning_rate(),
                "training_loss": training_loss,
                "validation_loss": loss,
                "validation_nmae_total": float(percent[0]),
                "validation_nmae_spin": float(percent[1]),
            }
        )
        if score < self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best_state = copy.deepcopy(self.averaged.state_dict())

    def result(self) -> DensityTraining:
        """The model with the best averaged weights."""
        self.averaged.load_state_dict(self.best_state)
        row = self.history[-1]
        logger.info(
            "density model: %d steps, best at %d, validation NMAE %.2f %% (total) and %.1f %% (spin)",
            *(self.step, self.best_step, row["validation_nmae_total"], row["validation_nmae_spin"]),
        )
        network = self.averaged.cpu().eval()
        plain = self.settings.target == "plain"
        model = DensityModel(network, self.superposition, self.scale, self.valence, plain)
        return DensityTraining(model, self.history, self.best_step)

    def state(self) -> dict[str, Any]:
        """Complete state of the training, for an exact resume."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best_state": self.best_state,
            "optimiser": self.optimiser.state_dict(),
            "numbers": [self.step, self.best_step, self.best_score],
            "history": self.history,
            "interval": self._losses_read(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.best_state = state["best_state"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best_step, self.best_score = state["numbers"]
        self.history = state["history"]
        self.interval_losses = list(torch.tensor(state["interval"], dtype=torch.float64).to(self.device))
        self.progress = Progress("density model", self.settings.max_steps, done=self.step)
