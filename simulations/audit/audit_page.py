"""The page of an audit: claim, checks, canaries and attack, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAGE = """{% extends "base" %}
{% block title %}Privacy audit of {{ a.study.name }}{% endblock %}
{% block header %}
<p class="kicker">Privacy audit</p>
<h1>{{ a.study.name }}, {{ a.site.name }}</h1>
{% endblock %}
{% block main %}
<div class="banner verdict {{ 'good' if a.passed else 'bad' }}">
<p class="first">{{ passed }} of {{ a.checks | length }} checks passed</p>
<p>{% if a.passed %}Nothing that was measured contradicts the claim. An audit can refute a claim of privacy; it cannot
prove one.{% else %}What runs is not what is claimed. Do not train on patients with this installation.{% endif %}</p>
</div>
<h2>Claim and measurement</h2>
<dl class="facts">
<dt>Claimed</dt><dd>epsilon {{ "%.3g" | format(a.claim.epsilon) }} at delta {{ "%.1e" | format(a.claim.delta) }}, one
patient with all their images added or removed</dd>
{% for name, c in canaries %}
<dt>{{ name }}</dt><dd>epsilon at least {{ "%.2f" | format(c.epsilon) }} with {{ "%g" | format(100 * c.confidence) }}%
confidence ({{ c.correct }} of {{ c.guesses }} guesses right, {{ c.canaries }} canaries; at most
{{ "%.2f" | format(c.most_possible) }} could have shown){% if c.estimate is not none %}; Gaussian estimate
{{ "%.2f" | format(c.estimate) }}{% endif %}</dd>
{% endfor %}
{% for name, m in attacks %}
<dt>{{ name }}</dt><dd>AUC {{ "%.3f" | format(m.auc) }} ({{ "%.3f" | format(m.low) }} to {{ "%.3f" | format(m.high) }}),
{{ "%.1f" | format(100 * m.tpr_at_low_fpr) }}% of members found at 1% false alarms; {{ m.models }} models,
{{ m.patients }} patients</dd>
{% endfor %}
</dl>
<h2>Checks</h2>
<div class="scroll" tabindex="0"><table>
<thead><tr><th scope="col">Check</th><th scope="col" class="text">Result</th><th scope="col" class="text">Measured</th>
<th scope="col" class="text">Expected</th></tr></thead>
<tbody>
{% for c in a.checks %}
<tr><th scope="row">{{ c.name }}</th><td class="text {{ 'good' if c.passed else 'bad' }}">
{{ "PASS" if c.passed else "FAIL" }}</td><td class="wrap">{{ c.measured }}</td>
<td class="wrap">{{ c.expected }}</td></tr>
{% endfor %}
</tbody></table></div>
<h2>What this does not show</h2>
<p>The canary bound grows with the number of canaries and stays below the claim of a sound mechanism. An attack that
fails may be a weak attack. Counts, score histograms and tuning are outside the claim and outside this audit. The
hospital's own generator was questioned on this machine, not on the hospital's.</p>
<h2>What ran</h2>
<dl class="facts">
{% for key, value in a.plan.items() %}<dt>{{ key }}</dt><dd>{{ value }}</dd>
{% endfor %}
<dt>study</dt><dd><code>{{ a.study.digest }}</code></dd>
<dt>code</dt><dd><code>{{ a.study.code_digest }}</code></dd>
</dl>
{% endblock %}
"""


def audit_page(audit: Mapping[str, Any]) -> str:
    """Returns the HTML page of an audit's document."""
    from common.reporting.templates.base import render

    canaries, attack = audit["canaries"], audit["attack"] or {}
    values = {
        "a": audit,
        "passed": sum(check["passed"] for check in audit["checks"]),
        "canaries": [
            ("Canaries on the study's network", canaries["study"]),
            ("Worst-case canaries", canaries["worst_case"]),
        ],
        "attacks": [(f"Membership attack, {name}", attack[name]) for name in ("private", "plain") if name in attack],
    }
    return render("audit", {"audit": PAGE}, values)
