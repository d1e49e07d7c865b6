"""Checks a privacy statement from the events in it, with an accountant that is not ours.

Google's dp-accounting composes privacy loss distributions, independently of Opacus. That the events are those that the
ledger charged follows from its signed rows, which the statement carries; that they are those that ran is the plan's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import TrustError
from common.privacy.accounting import Event, epsilon_of, merge
from common.privacy.chain import check_chain
from common.privacy.evaluation_account import epsilon_of_rho, rho_of
from common.privacy.exposure import UNBOUNDED
from common.privacy.summed_statement import alone_events, shares_hold

TOLERANCE = 0.01
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a statement ends in that somebody else wrote, figure by figure and row by row."""
GRID_ERROR = 0.02
"""Opacus' PRV reports the upper end of an interval of half-width 0.01 around its estimate."""


def recompute(statement: Mapping[str, Any]) -> float:
    """Returns the study's epsilon from the statement's events by Google's dp-accounting (PLD).

    Raises:
        TrustError: dp-accounting is not installed, or the statement's events cannot be read.
    """
    return _independent(_events(statement, "events"), _number(statement, "delta"))


def verify_statement(statement: Mapping[str, Any]) -> float:
    """Returns the independent epsilon of the study after checking every figure that follows from the events.

    A claim must not lie more than 1% below the independent value, and must be what its own accountant gives: a PRV
    claim is then within 1% on both sides, while RDP, an upper bound that is not tight, may lie above. Below epsilon 2
    the 0.02 of PRV's own error counts instead.

    Raises:
        TrustError: A figure cannot be read or differs; says which.
    """
    if statement.get("private") is not True:
        raise TrustError(f"The statement of {statement.get('site')} says that there is no guarantee: nothing to verify")
    check_consistency(statement)
    try:
        if statement["lifetime_events"] is not None and statement["lifetime_epsilon"] != UNBOUNDED:
            _check(statement, "lifetime_epsilon", _events(statement, "lifetime_events"))
        _check_alone(statement)
        return _check(statement, "epsilon", _events(statement, "events"))
    except UNREADABLE as error:
        raise TrustError(f"The statement of {statement.get('site')} cannot be read ({error!r})") from None


def check_consistency(statement: Mapping[str, Any]) -> None:
    """Checks what needs no accountant: the ledger's rows, and the figures that must agree with each other.

    Raises:
        TrustError: Something cannot be read or does not fit; says what.
    """
    try:
        _check_derived(statement)
        check_chain(statement)
    except UNREADABLE as error:
        raise TrustError(f"The statement of {statement.get('site')} cannot be read ({error!r})") from None


def _check_alone(statement: Mapping[str, Any]) -> None:
    """Checks the epsilon that is left when all other sites of the secure sums collude with the hub."""
    if (summed := statement.get("secure_sum")) is None or summed["alone"]["epsilon"] == UNBOUNDED:
        return
    figure = {**statement, "secure_sum.alone.epsilon": summed["alone"]["epsilon"]}
    _check(figure, "secure_sum.alone.epsilon", alone_events(statement) or [])


def _check(statement: Mapping[str, Any], name: str, events: Sequence[Event]) -> float:
    claimed, delta = _number(statement, name), _number(statement, "delta")
    accountant = str(statement["accountant"]["name"])
    _require(statement, name, claimed, epsilon_of(events, delta, accountant), tight=True)
    independent = _independent(events, delta)
    _require(statement, name, claimed, independent, tight=accountant == "prv")
    return independent


def _require(statement: Mapping[str, Any], name: str, claimed: float, found: float, *, tight: bool) -> None:
    slack = _slack(found)
    if claimed < found - slack or (tight and claimed > found + slack):
        raise TrustError(
            f"The statement of {statement.get('site')} claims {name} {claimed:.4f}; its own events give {found:.4f}"
        )


def _check_derived(s: Mapping[str, Any]) -> None:
    events, course = s["events"], [float(row["epsilon"]) for row in s["by_round"]]
    unbounded = s["lifetime_epsilon"] == UNBOUNDED
    lifetime = math.inf if unbounded else s["lifetime_epsilon"]
    facts = {
        "steps": s["steps"] == sum(event["steps"] for event in events),
        "rounds": s["rounds"] == len(events) == len(course),
        "by_round": course == sorted(course) and (not course or abs(course[-1] - s["epsilon"]) <= 1e-9),
        "noise_multiplier": not events or s["noise_multiplier"] in {event["noise_multiplier"] for event in events},
        "sampling.rate": not events or s["sampling"]["rate"] in {event["sampling_rate"] for event in events},
        "noise": "noise" not in s or _noise_covers(s),
        "secure_sum": s.get("secure_sum") is None or _sums_hold(s),
        "evaluation_account": _scores_cost(s.get("evaluation_account"), s.get("cohort_changes", 0)),
        "lifetime_epsilon": lifetime >= s["epsilon"] - _slack(s["epsilon"]),
        "unbounded_runs": unbounded == (s.get("unbounded_runs", 0) > 0),
        "charges_allowed": s["rounds"] <= s.get("charges_allowed", math.inf),
        "remaining": math.isclose(s["remaining"], max(0.0, s["ceiling"] - lifetime), abs_tol=1e-9),
    }
    wrong = [name for name, holds in facts.items() if not holds]
    if wrong:
        raise TrustError(f"In the statement of {s.get('site')} these do not follow from the rest: {', '.join(wrong)}")


def _sums_hold(s: Mapping[str, Any]) -> bool:
    """Whether shares cover their sums, and what all others could learn is told: unbounded where a share is not."""
    left = s["secure_sum"]["alone"]["epsilon"]
    return shares_hold(s) and (left == UNBOUNDED) == (alone_events(s) is None)


def _noise_covers(s: Mapping[str, Any]) -> bool:
    """Whether the noise is the multiple that was accounted of a sensitivity that holds the clipping norm."""
    deviation, sensitivity = float(s["noise"]["standard_deviation"]), float(s["noise"]["sensitivity"])
    least = float(s["noise_multiplier"]) * sensitivity * (1 - 1e-12)
    sums = all(_is_covered(row, float(s["noise_multiplier"])) for row in s.get("releases", []))
    return sensitivity >= float(s["clip_norm"]) and deviation >= least and sums


def _is_covered(release: Mapping[str, Any], multiplier: float) -> bool:
    return float(release["standard_deviation"]) >= multiplier * float(release["sensitivity"]) * (1 - 1e-12)


def _scores_cost(account: Mapping[str, Any] | None, cohort_changes: int) -> bool:
    """Whether noised score counts, if any, cost what their releases cost; less where the cohort changed meanwhile."""
    if account is None:
        return True
    most = epsilon_of_rho(max(account["releases"].values()) * rho_of(account["noise"]), account["delta"])
    return math.isclose(account["epsilon"], most, abs_tol=1e-9) or (cohort_changes > 0 and account["epsilon"] < most)


def _independent(events: Sequence[Event], delta: float) -> float:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError:
        raise TrustError("Install the second accountant to verify: pip install 'oncofed[dp-check]'") from None
    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for event in merge(events):  # composition has no order, and equal mechanisms together are quick
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian), event.steps)
    return float(accountant.get_epsilon(delta)) if events else 0.0


def _events(statement: Mapping[str, Any], name: str) -> list[Event]:
    try:
        return [
            Event(float(row["noise_multiplier"]), float(row["sampling_rate"]), int(row["steps"]))
            for row in statement[name]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(f"The statement's {name} cannot be read ({error!r})") from None


def _number(statement: Mapping[str, Any], name: str) -> float:
    value = statement.get(name)
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TrustError(f"Expected {name} in the statement to be a number >= 0, got {value!r}")
    return float(value)


def _slack(value: float) -> float:
    return max(TOLERANCE * value, GRID_ERROR)
