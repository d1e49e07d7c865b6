"""Has the site patients enough for the privacy that a study asks for? Needs no image, and spends nothing."""

from __future__ import annotations

from collections.abc import Callable

from client.site.forecast import forecast
from common.config.study import StudyConfig
from common.data.checks.finding import Finding, Severity
from common.errors import BudgetExceeded, ConfigError

VERSION = 1
LOUD = 0.1
"""Noise on one parameter, over the most that all patients of a step can move it, from which a site learns little."""
MOST = 1 << 17
"""Patients up to which it is looked for how many would do."""


def check_epsilon(study: StudyConfig, patients: int) -> list[Finding]:
    """Returns whether the noise that the study's epsilon asks for drowns what so many patients say.

    Nothing for a study without privacy. ``patients`` is the declared, public number of training patients.
    """
    if not study.privacy.private:
        return []
    try:
        noise = _noise(study, patients)
    except (ConfigError, BudgetExceeded) as error:
        what = f"training patients, with whom the study cannot be planned: {error}"
        return [_finding("epsilon-no-plan", "error", what, patients, "Ask the consortium for another study.")]
    if noise < LOUD:
        return []
    what = (
        f"training patients, too few for the study's epsilon {study.privacy.epsilon:g}: in each step the noise on one "
        f"parameter is {noise:.2f} of the most that all patients can move it"
    )
    enough = fewest(lambda n: _noise(study, n) < LOUD, patients, MOST)
    fix = f"About {enough} patients would do, or a greater epsilon." if enough else "Only a greater epsilon would do."
    return [_finding("epsilon-too-few", "warning", what, patients, fix)]


def fewest(enough: Callable[[int], bool], above: int, most: int) -> int | None:
    """Returns about the least number above one that is too small, to a fifth; None where ``most`` is no more enough."""
    low, high = above, 2 * above
    while high <= most and not enough(high):
        low, high = high, 2 * high
    if high > most:
        return None
    while high - low > max(1, high // 5):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _noise(study: StudyConfig, patients: int) -> float:
    return float(forecast(study, patients, None)["noise_to_signal"])


def _finding(code: str, severity: Severity, what: str, count: int, fix: str) -> Finding:
    return Finding(code=code, severity=severity, what=what, count=count, fix=fix, told=False)
