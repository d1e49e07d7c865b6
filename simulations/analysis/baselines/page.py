"""The page of a comparison: one table, each figure linked to its run, and what is equal on both sides."""

from __future__ import annotations

from pathlib import Path

from common.runs.run_folder import RunFolder
from simulations.analysis.baselines.table import HOME, Baselines, Row

FILE = "baselines.html"
PAGE = """{% extends "base" %}
{% block title %}Baselines of {{ d.study }}{% endblock %}
{% block header %}
<p class="kicker">One study beside what it should be compared with</p>
<h1>{{ d.study }} on {{ d.data }}</h1>
{% endblock %}
{% block main %}
<p class="lead">Area under the ROC curve of test patients who are compared within their own hospital, mean over
{{ d.seeds|length }} seed{{ "s" if d.seeds|length != 1 }}. A seed is another split, another start and other noise.</p>
<div class="scroll" tabindex="0"><table>
<caption>Each model, and its difference to {{ home }} on the same seeds</caption>
<thead><tr><th scope="col">Model</th><th scope="col">AUROC</th><th scope="col">Difference</th>
<th scope="col">Passes</th><th scope="col" class="text">Runs</th></tr></thead><tbody>
{% for row in rows %}<tr><th scope="row">{{ row.name }}</th>
{% if row.missing %}<td class="wrap" colspan="4">Not measured: {{ row.missing }}</td>
{% else %}<td>{{ "%.3f"|format(row.mean) }}{% if row.deviation is not none %}<span class="range">+-
{{ "%.3f"|format(row.deviation) }}</span>{% endif %}</td>
<td>{% if row.difference is none %}-{% else %}{{ "%+.3f"|format(row.difference) }}{% if row.low is not none %}
<span class="range">{{ "%+.3f"|format(row.low) }} to {{ "%+.3f"|format(row.high) }}</span>{% endif %}{% endif %}</td>
<td>{{ "-" if row.passes is none else "%.3g"|format(row.passes) }}</td>
<td class="text">{% for seed, place in row.runs.items() %}<a href="{{ place }}/report.html">{{ seed }}</a>
{% endfor %}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
<p>The intervals are of seeds (paired t, 95 %; three seeds or more). All seeds draw from the same patients, so they are
too narrow for other patients. A hospital without labels is compared with the public checkpoint, on all its patients.
Passes say how often a training patient was used in the federated training; what is made at home stops by itself, at
most after {{ home_epochs }} passes for each fold and seed.</p>
<h2>What is equal</h2>
<p>All rows of a seed share split, network, start and image size. No setting was searched for any of them here: each has
the settings of the study. Where a sweep chose these, it chose them for the study's own row only.</p>
<dl class="facts"><dt>Study</dt><dd><code>{{ d.overrides|join(" ") }}</code></dd>
<dt>Code</dt><dd><code>{{ d.code }}</code></dd></dl>
{% endblock %}
"""


def write_page(folder: Path, document: Baselines) -> Path:
    """Writes ``baselines.html`` and returns its path."""
    from common.config.study import compose
    from common.reporting.templates.base import render

    values = {
        "d": document,
        "rows": ordered(document),
        "home": HOME,
        "home_epochs": f"{compose(document.overrides).evaluation.local_epochs:g}",
    }
    RunFolder(folder).write_text(FILE, render("baselines", {"baselines": PAGE}, values))
    return folder / FILE


def ordered(document: Baselines) -> list[Row]:
    """Returns the rows as they are read: the best first, hospitals without labels after them, the missing last."""
    return sorted(document.rows, key=_place)


def _place(row: Row) -> tuple[bool, str, float]:
    hospital = row.name.partition(":")[0] if "no labels" in row.name else ""
    return bool(row.missing), hospital, -(row.mean or 0.0)
