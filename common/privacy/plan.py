"""The privacy plan of one site's part in a study: the only source of sampler, clipper, noise and accountant event.

Whatever trains privately takes its batches, its clipping norm, its noise and its normaliser from one frozen
:class:`PrivacyPlan`, and what the ledger charges is the plan's own event, so what is accounted is what runs.
Fields are public; what is private (which patients there are) comes as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.config.study import PrivacyConfig, TrainingConfig
from common.errors import ConfigError
from common.privacy.accounting import Event, default_delta, solve_noise_multiplier
from common.privacy.noise import GridNoise, NoiseSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from common.privacy.optimizer import Inner, PatientOptimizer
    from common.privacy.stream import SecretStream


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPlan:
    """DP-SGD over patients (Abadi et al. 2016, algorithm 1, with the patient as the example).

    Guarantee: releasing the trained parameters after all rounds is (``target_epsilon``, ``delta``)-DP with respect to
    adding or removing one patient with all their images.

    Attributes:
        sampling_rate: Probability with which each patient enters a step, independently.
        expected_batch_patients: ``sampling_rate`` times the *declared* patients: the public divisor of every sum.
        steps_per_round: Optimizer steps of a round; empty batches are steps too.
        clip_norm: L2 bound of one patient's mean gradient.
        noise_multiplier: Noise standard deviation over the sensitivity of a sum: ``clip_norm`` and what rounding adds.
        max_images: Images of a patient that enter a step at most.
        sensitivities: Of the one sum of each round, for a plan of the statistics training, where everybody takes part
            in each; empty for DP-SGD, where ``clip_norm`` is that of every sum.
    """

    sampling_rate: float
    expected_batch_patients: float
    steps_per_round: int
    rounds: int
    clip_norm: float
    noise_multiplier: float
    max_images: int
    delta: float
    target_epsilon: float
    accountant: str
    engine: str
    sensitivities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        sizes = (self.clip_norm, self.expected_batch_patients, self.target_epsilon)
        if not all(0 < size < math.inf for size in sizes):
            raise ValueError(f"Expected finite clip_norm, expected_batch_patients and target_epsilon > 0, got {sizes}")
        if self.accountant not in ("prv", "rdp") or self.engine not in ("book_keeping", "hooks"):
            raise ValueError(
                f"Expected accountant prv or rdp and engine book_keeping or hooks, got {self.accountant}, {self.engine}"
            )
        if self.rounds < 1 or self.max_images < 1 or not 0 < self.delta < 1:
            raise ValueError("Expected rounds >= 1, max_images >= 1 and 0 < delta < 1")
        if self.sensitivities and (len(self.sensitivities) != self.rounds or not min(self.sensitivities) > 0):
            raise ValueError(f"Expected a sensitivity > 0 for each of {self.rounds} rounds, got {self.sensitivities}")
        if self.sensitivities and (self.sampling_rate, self.steps_per_round) != (1.0, 1):
            raise ValueError("Expected sampling_rate 1 and one step a round where rounds have sensitivities")
        self.event()

    @classmethod
    def for_site(cls, privacy: PrivacyConfig, training: TrainingConfig, declared_patients: int) -> PrivacyPlan:
        """Returns the plan that spends ``privacy.epsilon`` over all rounds of the study, noise solved once.

        Raises:
            ConfigError: The study is not private, no patient is declared, or delta is too large for so few patients.
        """
        if declared_patients < 1:
            raise ConfigError(f"A site declares {declared_patients} patients; expected at least 1")
        if not privacy.private:
            raise ConfigError("A study with privacy.mode=none has no privacy plan")
        delta = privacy.delta if privacy.delta is not None else default_delta(declared_patients)
        if delta * declared_patients >= 1:
            raise ConfigError(
                f"privacy.delta={delta:g} is too large for a site of {declared_patients} patients: at that size it "
                f"would allow giving one of them away; expected less than {1 / declared_patients:.1e}"
            )
        rate, steps = round_shape(training, declared_patients)
        sigma = solve_noise_multiplier(
            epsilon=privacy.epsilon,
            delta=delta,
            sampling_rate=rate,
            steps=steps * training.rounds,
            accountant=privacy.accountant,
        )
        return cls(
            sampling_rate=rate,
            expected_batch_patients=rate * declared_patients,
            steps_per_round=steps,
            rounds=training.rounds,
            clip_norm=1.0 if training.method == "statistics" else privacy.clip_norm,
            noise_multiplier=sigma,
            max_images=privacy.max_images,
            delta=delta,
            target_epsilon=privacy.epsilon,
            accountant=privacy.accountant,
            engine=privacy.engine,
            sensitivities=_sensitivities(training),
        )

    def event(self, steps: int | None = None) -> Event:
        """Returns what ``steps`` steps cost, by default those of one round."""
        return Event(self.noise_multiplier, self.sampling_rate, self.steps_per_round if steps is None else steps)

    @property
    def noise(self) -> GridNoise:
        """Returns the noise of each step of DP-SGD: its grid, its sensitivity and its sampler."""
        return GridNoise(self.clip_norm, self.noise_multiplier)

    def noised_sum(self, round_index: int, total: Tensor, stream: SecretStream) -> NDArray[np.float32]:
        """Returns the round's sum (D,) with its noise, float32 (D,); of a plan of the statistics training.

        The sum is rounded to the grid of the round's sensitivity, and the noise is whole steps of it.

        Raises:
            ModelError: There are too many values.
        """
        noise = GridNoise(self.sensitivities[round_index - 1], self.noise_multiplier)
        return noise.noisy(total.numpy(), NoiseSource(noise, stream))

    def sample(self, num_patients: int, stream: SecretStream) -> Iterator[Tensor]:
        """Yields ``steps_per_round`` Poisson samples of patient indices, int64, each possibly empty."""
        import torch

        for _ in range(self.steps_per_round):
            chosen = stream.uniforms(num_patients) < self.sampling_rate
            yield torch.from_numpy(chosen.nonzero()[0])

    def optimizer(self, inner: Inner, stream: SecretStream) -> PatientOptimizer:
        """Returns ``inner`` behind this plan's noise and divisor."""
        from common.privacy.optimizer import PatientOptimizer

        return PatientOptimizer(
            inner, noise=self.noise, expected_batch_patients=self.expected_batch_patients, stream=stream
        )


def round_shape(training: TrainingConfig, declared_patients: int) -> tuple[float, int]:
    """Returns the sampling rate and the steps of one round at a site of this declared size."""
    if training.method == "statistics":
        return 1.0, 1
    rate = min(1.0, training.batch_patients / declared_patients)
    return rate, training.local_steps or max(1, math.ceil(training.local_epochs / rate))


def _sensitivities(training: TrainingConfig) -> tuple[float, ...]:
    from common.privacy.statistics import sensitivities

    is_sums = training.method == "statistics"
    return sensitivities(training.rounds, training.statistics.residual) if is_sums else ()
