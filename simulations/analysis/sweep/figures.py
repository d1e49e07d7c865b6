"""The figures of a sweep's page, each as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common.reporting.figures.drawing import GRID, INK, OKABE_ITO, figure, legend, rows_height, whole_numbers
from simulations.analysis.sweep.document import SweepDocument, TrialResult
from simulations.analysis.sweep.space import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"auroc": "validation AUROC", "log_loss": "validation log loss"}
DRAWN_ROUNDS = 5


def figures_of(document: SweepDocument) -> dict[str, str]:
    """Returns the figures that the sweep has values for, as SVG by name."""
    found = {"trials": _trials(document), "rounds": _rounds(document), "parallel": _parallel(document)}
    return found | ({"importance": _importance(document.importance)} if document.importance else {})


def _trials(document: SweepDocument) -> str:
    """Each trial's figure, and the best so far."""
    with figure("trials", "Figure of each trial") as (ax, done):
        for state, marker, colour in (("complete", "o", OKABE_ITO[0]), ("pruned", "x", OKABE_ITO[1])):
            shown = {t.number: t.value for t in document.trials if t.state == state and t.value is not None}
            ax.plot(list(shown), list(shown.values()), marker, color=colour, ms=4, label=state)
        ax.step(*_best_so_far(document), where="post", color=INK, lw=1.2, label="best so far")
        _axes(ax, "trial", NAMES[document.objective])
    return done[0]


def _best_so_far(document: SweepDocument) -> tuple[list[int], list[float]]:
    pick = max if document.objective == "auroc" else min
    whole = [(trial.number, trial.value) for trial in document.trials if trial.state == "complete"]
    values = [value for _, value in whole if value is not None]
    return [number for number, _ in whole], [pick(values[: index + 1]) for index in range(len(values))]


def _rounds(document: SweepDocument) -> str:
    """The best trials by round, all others pale behind them."""
    best = ranked(document)[:DRAWN_ROUNDS]
    with figure("rounds", "Validation by round of the best trials") as (ax, done):
        for trial in document.trials:
            if trial not in best and trial.rounds:
                ax.plot(*zip(*trial.rounds, strict=True), color=GRID, lw=0.8)
        for colour, style, trial in zip(OKABE_ITO, ("-", "--", ":", "-.", "-"), best, strict=False):
            ax.plot(*zip(*trial.rounds, strict=True), color=colour, ls=style, lw=1.5, label=f"trial {trial.number}")
        _axes(ax, "round", NAMES[document.objective])
    return done[0]


def ranked(document: SweepDocument) -> list[TrialResult]:
    """Returns the whole trials, the best first."""
    whole = [trial for trial in document.trials if trial.state == "complete" and trial.value is not None]
    return sorted(whole, key=lambda trial: trial.value or 0.0, reverse=document.objective == "auroc")


def _parallel(document: SweepDocument) -> str:
    """Each whole trial as a line over its settings; the best quarter in colour."""
    trials = ranked(document)
    names = [name for name in document.settings["space"]["space"] if any(name in trial.values for trial in trials)]
    best = trials[: max(1, len(trials) // 4)]
    with figure("parallel", "Settings of the trials, the best quarter in colour") as (ax, done):
        heights = {name: _heights([trial.values.get(name) for trial in trials]) for name in names}
        for index, trial in reversed(list(enumerate(trials))):
            line = [heights[name][index] for name in names]
            colour, width = (OKABE_ITO[0], 1.4) if trial in best else (GRID, 0.8)
            ax.plot(range(len(names)), line, color=colour, lw=width, marker="o", ms=3)
        ax.set_xticks(range(len(names)), [f"{name}\n{_ends(name, trials)}" for name in names], fontsize=7)
        ax.set_yticks([])
    return done[0]


def _heights(values: Sequence[Value | None]) -> list[float]:
    """Returns each value's rank between 0 and 1; what a trial did not search lies below."""
    known = sorted({value for value in values if value is not None}, key=_order)
    places = {value: index / max(1, len(known) - 1) for index, value in enumerate(known)}
    return [-0.15 if value is None else places[value] for value in values]


def _order(value: Value) -> tuple[bool, float, str]:
    return (isinstance(value, str), 0.0 if isinstance(value, str) else float(value), str(value))


def _ends(name: str, trials: Sequence[TrialResult]) -> str:
    """Returns the lowest and the highest value, which the axis runs between by rank."""
    known = sorted({trial.values[name] for trial in trials if name in trial.values}, key=_order)
    return f"{told(known[0])} to {told(known[-1])}"


def told(value: Value) -> str:
    """Returns a value in few digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _importance(shares: Mapping[str, float]) -> str:
    names = sorted(shares, key=lambda name: shares[name])
    with figure("importance", "What each setting explains", rows_height(names)) as (ax, done):
        ax.barh(names, [shares[name] for name in names], color=OKABE_ITO[0], height=0.5)
        ax.set_xlabel("share of the variance of whole trials")
        ax.set_xlim(0, 1)
    return done[0]


def _axes(ax: Axes, along: str, up: str) -> None:
    ax.set_xlabel(along)
    ax.set_ylabel(up)
    whole_numbers(ax)
    legend(ax)
