"""The search itself: Optuna proposes, trials run one after another in each process, a journal keeps what they gave.

Several processes share one journal. A killed process loses at most the trial that it was running: whoever resumes the
sweep gives that trial's values to a new one.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError, OncoFedError
from common.trust.durable import exclusive
from simulations.analysis.sweep.document import State, TrialResult
from simulations.analysis.sweep.settings import Settings
from simulations.analysis.sweep.space import Value
from simulations.analysis.sweep.trials import Pruned, Watched, rounds_of, run_trial
from simulations.analysis.sweep.units import trial_overrides

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "journal.log"
TRIALS = "trials"
Say = Callable[[TrialResult], None]


class Search:
    """One sweep's trials, in its folder."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.study = _study(folder / JOURNAL, settings)
        if settings.sampler == "grid":
            self._lay_grid()

    def recover(self) -> int:
        """Returns how many trials a killed process had left running; their values are tried again."""
        from optuna.trial import TrialState

        left = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
        for trial in left:
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params, user_attrs={"instead_of": trial.number})
        return len(left)

    def run(self, say: Say = lambda result: None) -> None:
        """Runs trials until the sweep has as many as it was asked for; ``say`` hears of each."""
        while (trial := self._next()) is not None:
            say(self._run(trial))

    def results(self) -> tuple[TrialResult, ...]:
        """Returns the finished trials in their order, without those that a kill cut short."""
        lost = _replaced(self.study)
        found = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return tuple(self._result(trial) for trial in found if trial.number not in lost)

    def importance(self) -> dict[str, float]:
        """Returns the share of the figures' variance that each dimension explains (Hutter et al. 2014, fANOVA).

        Empty where fewer than ten trials ended whole, or nothing varies.
        """
        import optuna

        whole = [result for result in self.results() if result.state == "complete"]
        if len(whole) < 10 or len({result.value for result in whole}) < 2:
            return {}
        shared = [name for name in self.settings.space.space if all(name in result.values for result in whole)]
        varied = [name for name in shared if len({result.values[name] for result in whole}) > 1]
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=varied)
        return {name: float(share) for name, share in found.items()}

    def _lay_grid(self) -> None:
        """Puts the points of the grid into the queue, once."""
        with exclusive(self.folder / "lock"):
            if not self.study.get_trials(deepcopy=False):
                grid = self.settings.space.grid()
                for point in itertools.islice(itertools.product(*grid.values()), self.settings.trials):
                    self.study.enqueue_trial(dict(zip(grid, point, strict=True)))

    def _next(self) -> Trial | None:
        """Returns the next trial, counted under a lock so that several processes start no more than were asked for."""
        with exclusive(self.folder / "lock"):
            from optuna.trial import TrialState

            trials = self.study.get_trials(deepcopy=False)
            begun = sum(trial.state != TrialState.WAITING for trial in trials) - len(_replaced(self.study))
            if begun >= self.settings.trials:
                return None
            self.study.sampler = _sampler(self.settings, begun)
            return self.study.ask()

    def _run(self, trial: Trial) -> TrialResult:
        from optuna.trial import TrialState

        watched = Watched(self.settings.space.objective, trial if self.settings.pruner != "none" else None)
        values, began = self.settings.space.suggest(trial), time.monotonic()
        trial.set_user_attr("values", values)
        try:
            value = run_trial(self.settings, values, self._folder_of(trial.number), watched)
            self._tell(trial, TrialState.COMPLETE, began, value)
        except Pruned:
            self._tell(trial, TrialState.PRUNED, began)
        except OncoFedError as error:
            self._tell(trial, TrialState.FAIL, began, reason=str(error))
        return self._result(self.study.get_trials(deepcopy=False)[trial.number])

    def _tell(self, trial: Trial, state: Any, began: float, value: float | None = None, reason: str = "") -> None:
        trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, value, state)

    def _folder_of(self, number: int) -> Path:
        return self.folder / TRIALS / f"{number:04d}"

    def _result(self, trial: FrozenTrial) -> TrialResult:
        values: Mapping[str, Value] = trial.user_attrs.get("values", trial.params)
        rounds = rounds_of(self._folder_of(trial.number), self.settings.space.objective)
        return TrialResult(
            number=trial.number,
            state=_STATES.get(trial.state.name, "failed"),
            value=trial.value,
            values=dict(values),
            overrides=_told(self.settings, values),
            rounds=tuple(rounds),
            seconds=float(trial.user_attrs.get("seconds", 0.0)),
            reason=str(trial.user_attrs.get("reason", "")),
        )


_STATES: Mapping[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}


def _told(settings: Settings, values: Mapping[str, Value]) -> tuple[str, ...]:
    try:
        return tuple(trial_overrides(settings, values)[len(settings.overrides) :])
    except OncoFedError:
        return ()


def _replaced(study: Study) -> set[int]:
    """Returns the trials that were cut short and tried again under another number."""
    named = (trial.user_attrs.get("instead_of") for trial in study.get_trials(deepcopy=False))
    return {int(number) for number in named if number is not None}


def _study(journal: Path, settings: Settings) -> Study:
    optuna = _optuna()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    study: Study = optuna.create_study(
        storage=storage,
        study_name="sweep",
        load_if_exists=True,
        direction="maximize" if settings.space.objective == "auroc" else "minimize",
        sampler=_sampler(settings, 0),
        pruner=_pruner(settings),
    )
    return study


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError("A sweep needs Optuna; install it with: pip install 'oncofed[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _sampler(settings: Settings, begun: int) -> Any:
    """Returns the sampler of the next trial, with a seed of its own: no process proposes what another has."""
    import numpy as np

    samplers = _optuna().samplers
    seed = int(np.random.SeedSequence([settings.sampler_seed, begun]).generate_state(1)[0])
    if settings.sampler in ("random", "grid"):
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed)


def _pruner(settings: Settings) -> Any:
    pruners = _optuna().pruners
    if settings.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=3)
    if settings.pruner == "median":
        rounds = settings.study().training.rounds
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(2, rounds // 3))
    return pruners.NopPruner()
