"""The measured rows as Markdown: each study beside the best model that its hospitals have alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from scipy.stats import t as student

from common.version import version_line
from simulations.analysis.markdown import table
from simulations.analysis.results.measure import Cell, measured_code
from simulations.analysis.results.plan import Study

MARKS = BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
CONFIDENCE = 0.95


def page(studies: Sequence[Study], cells: Mapping[str, Sequence[Cell]], command: str) -> str:
    """Returns the generated part of docs/results.md, its two marks included."""
    best = {study.data: _best_alone(study.data, studies, cells) for study in studies}
    rows = [_row(study, cells[study.name], best[study.data], cells) for study in studies]
    said = f"By `{command}` with {version_line()}. {_measured_by(cells)}"
    parts = [BEGIN, said, table(rows), *_outside(studies, cells), _commands(studies, cells), END]
    return "\n\n".join(parts)


def _measured_by(cells: Mapping[str, Sequence[Cell]]) -> str:
    """Returns which code the runs were made by, where it is not today's alone."""
    digests = {cell.code for row in cells.values() for cell in row}
    if digests == {measured_code()}:
        return "All runs are of this code."
    return "Runs of this code: " + ", ".join(f"`{digest[:16]}`" for digest in sorted(digests)) + "."


def _row(study: Study, own: Sequence[Cell], best: str, cells: Mapping[str, Sequence[Cell]]) -> dict[str, object]:
    federated, alone = _areas(own, "federated"), _areas(cells.get(best, ()), "local")
    epsilon = max((cell.epsilon for cell in own if cell.epsilon is not None), default=None)
    against_best = _difference(_paired(federated, alone))
    return {
        "study": study.title,
        "epsilon": "none" if epsilon is None else f"{epsilon:.2f}",
        "seeds": len(own),
        "public checkpoint": _spread(_areas(own, "public").values()),
        "at home": _spread(_areas(own, "local").values()),
        "federated": _spread(federated.values()),
        "home + federation": _spread(_areas(own, "personalised").values()),
        "gain over home": _difference(_paired(_areas(own, "personalised"), _areas(own, "local"))),
        "federated - best at home of these data": f"{against_best} against {best}" if against_best != "-" else "-",
    }


def _paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[tuple[float, float]]:
    return [(first[seed], second[seed]) for seed in first if seed in second]


def _outside(studies: Sequence[Study], cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Returns the table of hospitals that took no part; nothing where no study keeps one outside."""
    rows = [
        _outside_row(study, name, [cell.outside[name] for cell in cells[study.name] if name in cell.outside])
        for study in studies
        for name in sorted({name for cell in cells[study.name] for name in cell.outside})
    ]
    return ["Hospitals that took no part, on all their patients:", table(rows)] if rows else []


def _outside_row(study: Study, name: str, areas: Sequence[tuple[float, float]]) -> dict[str, object]:
    return {
        "study": study.title,
        "hospital": name,
        "seeds": len(areas),
        "public checkpoint": _spread(public for _, public in areas),
        "federated": _spread(federated for federated, _ in areas),
        "federated - public": _difference(areas),
    }


def _best_alone(data: str, studies: Sequence[Study], cells: Mapping[str, Sequence[Cell]]) -> str:
    """Returns which study of the data has the best local models; on test patients, so it flatters the hospitals."""
    alone = {s.name: _areas(cells[s.name], "local") for s in studies if s.data == data}
    means = {name: statistics.fmean(areas.values()) for name, areas in alone.items() if areas}
    return max(means, key=lambda name: means[name], default="")


def _areas(cells: Sequence[Cell], model: str) -> dict[int, float]:
    return {cell.seed: cell.areas[model] for cell in cells if model in cell.areas}


def _spread(areas: Iterable[float]) -> str:
    values = list(areas)
    if not values:
        return "-"
    mean = statistics.fmean(values)
    return f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} +- {statistics.stdev(values):.3f}"


def _difference(pairs: Sequence[tuple[float, float]]) -> str:
    """Returns the mean difference over seeds and its limits (paired t), too narrow since the seeds share patients."""
    differences = [first - second for first, second in pairs]
    if len(differences) < 3:
        return "; ".join(f"{each:+.3f}" for each in differences) or "-"
    mean, count = statistics.fmean(differences), len(differences)
    reach = student.ppf((1 + CONFIDENCE) / 2, count - 1) * statistics.stdev(differences) / sqrt(count)
    return f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f})"


def _commands(studies: Sequence[Study], cells: Mapping[str, Sequence[Cell]]) -> str:
    lines = ["| study | overrides of `oncofed-sim run --engine inprocess` | rates chosen, by seed |", "|---|---|---|"]
    for study in studies:
        rates = [(cell.rate, cell.own_rate) for cell in cells[study.name]]
        chosen = "; ".join(f"{rate:g} / {own:g}" for rate, own in rates if rate is not None and own is not None)
        lines.append(f"| {study.name} | `{' '.join(study.overrides)}` | {chosen} |")
    return "\n".join(lines)
