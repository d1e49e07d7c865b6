"""The page of a sweep: what was searched, what won, how much of that was luck, and what it cost in privacy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.runs.run_folder import RunFolder
from simulations.analysis.sweep.document import SweepDocument
from simulations.analysis.sweep.figures import NAMES, figures_of, ranked, told

FILE = "sweep.html"
SHOWN = 20
PAGE = """{% extends "base" %}
{% macro figure(name, caption) %}{% if name in figures %}<figure>
<div class="picture" tabindex="0" role="group" aria-label="Figure: {{ name }}">{{ figures[name] }}</div>
<figcaption>{{ caption }}</figcaption></figure>{% endif %}{% endmacro %}
{% block title %}Sweep {{ d.settings.sweep }} on {{ d.data }}{% endblock %}
{% block header %}
<p class="kicker">Hyper-parameter sweep</p>
<h1>{{ d.settings.sweep }} on {{ d.data }}</h1>
{% endblock %}
{% block main %}
<div class="banner verdict note">
<p class="first">Trial {{ d.best }} of {{ d.trials|length }} was best: {{ figure_name }}
{{ "%.3f"|format(winner.value) }}.</p>
{% if d.rerun_mean is not none %}<p>Run again with {{ d.reruns|length }} new seeds it has
{{ "%.3f"|format(d.rerun_mean) }}{% if d.rerun_deviation is not none %} (standard deviation
{{ "%.3f"|format(d.rerun_deviation) }}){% endif %}. {% if d.optimism > 0 %}The best of many trials is partly lucky: the
sweep's own figure is {{ "%.3f"|format(d.optimism) }} too good.{% else %}The sweep's own figure was not too good.
{% endif %} A new seed is another split, another start and other noise.</p>
{% else %}<p>It was not run again with new seeds, so this figure is too good by an unknown amount.</p>{% endif %}
</div>
<div class="banner warn"><p><strong>What epsilon does not cover.</strong> Every trial asked the validation patients of
{{ d.data }}. No epsilon covers that, so a sweep is for public or synthetic data. A study that takes these settings
says so; hospitals refuse it where the sweep asked their own data set. The test patients were not opened.</p></div>
<h2>Best trials</h2>
<div class="scroll" tabindex="0"><table>
<thead><tr><th scope="col">Trial</th><th scope="col">{{ figure_name }}</th><th scope="col">Seconds</th>
<th scope="col" class="text">Settings</th></tr></thead><tbody>
{% for trial in best %}<tr><th scope="row">{{ trial.number }}</th><td>{{ "%.3f"|format(trial.value) }}</td>
<td>{{ "%.0f"|format(trial.seconds) }}</td><td class="wrap"><code>{{ trial.overrides|join(" ") }}</code></td></tr>
{% endfor %}</tbody></table></div>
{% if whole > best|length %}<p class="soft">And {{ whole - best|length }} more; <code>sweep.json</code> has all.</p>
{% endif %}
{{ figure("trials", "Each trial's figure in the order of their start.") }}
{{ figure("rounds", "The five best trials after each round; the others are pale. A line that ends early was
pruned.") }}
{{ figure("parallel", "What the trials were set to, from the lowest to the highest value by rank; the best quarter is in
colour. A point below an axis: the trial did not search that setting.") }}
{{ figure("importance", "Share of the variance of the whole trials that each setting explains (fANOVA). Settings that
only some trials search are left out.") }}
<h2>Trials without a figure</h2>
<p>{{ pruned }} pruned, {{ failed|length }} failed.</p>
{% if failed %}<ul>{% for trial in failed %}<li>Trial {{ trial.number }}: {{ trial.reason or "no reason given" }}</li>
{% endfor %}</ul>{% endif %}
<h2>What was searched</h2>
<div class="scroll" tabindex="0"><table>
<thead><tr><th scope="col">Setting</th><th scope="col" class="text">Where</th></tr></thead><tbody>
{% for name, where in searched %}<tr><th scope="row">{{ name }}</th><td class="wrap">{{ where }}</td></tr>
{% endfor %}</tbody></table></div>
<dl class="facts">
<dt>Fixed settings</dt><dd><code>{{ fixed or "those of the default study" }}</code></dd>
<dt>Sampler</dt><dd>{{ d.settings.sampler }}, seed {{ d.settings.sampler_seed }}; pruner {{ d.settings.pruner }}</dd>
<dt>Sweep</dt><dd><code>{{ d.digest }}</code></dd>
<dt>Code</dt><dd><code>{{ d.code }}</code></dd>
</dl>
<p>Use the winner: <code>oncofed-sim run experiment=best.yaml</code>, with the path of that file in this folder.</p>
{% endblock %}
"""


def write_page(folder: Path, document: SweepDocument) -> Path:
    """Writes ``sweep.html`` into the sweep's folder and returns its path."""
    RunFolder(folder).write_text(FILE, _page(document))
    return folder / FILE


def _page(document: SweepDocument) -> str:
    from markupsafe import Markup

    from common.reporting.templates.base import render

    order = ranked(document)
    values = {
        "d": document,
        "winner": document.winner,
        "figure_name": NAMES[document.objective],
        "best": order[:SHOWN],
        "whole": len(order),
        "pruned": sum(trial.state == "pruned" for trial in document.trials),
        "failed": [trial for trial in document.trials if trial.state == "failed"],
        "searched": [(name, _where(dimension)) for name, dimension in document.settings["space"]["space"].items()],
        "fixed": " ".join(document.settings["overrides"]),
        "figures": {name: Markup(svg) for name, svg in figures_of(document).items()},
    }
    return render("sweep", {"sweep": PAGE}, values)


def _where(dimension: dict[str, Any]) -> str:
    """Returns in words where a dimension is searched."""
    when = "; ".join(f"{name} is {' or '.join(map(told, of))}" for name, of in dimension.get("when", {}).items())
    only = f"; only where {when}" if when else ""
    if "choice" in dimension:
        return f"one of {', '.join(told(value) for value in dimension['choice'])}{only}"
    low, high = dimension.get("float") or dimension["int"]
    scale = ", in equal ratios" if dimension.get("log") else ""
    unit = f", in the unit {dimension['unit']}" if dimension.get("unit") else ""
    return f"{low:g} to {high:g}{scale}{unit}{only}"
