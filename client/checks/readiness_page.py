"""The readiness certificate as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAGE = """{% extends "base" %}
{% block title %}{{ c.site }}: readiness certificate - OncoFed{% endblock %}
{% block header %}
<p class="kicker">Readiness certificate</p>
<h1>{{ c.site }}</h1>
<div class="banner verdict {{ "good" if c.ready else "bad" }}" role="group" aria-label="Verdict"><p class="first">
{{ "Ready: no check found an error." if c.ready else "Not ready: errors are open." }}</p>
<p>It says what was looked at, not that the data are good.</p></div>
{% endblock %}
{% block main %}
<section aria-labelledby="patients"><h2 id="patients">Patients</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Patients"><table>
<caption>By split and class; small counts, and what would give them away, are not told</caption>
<thead><tr><th scope="col">Split</th><th scope="col">Malignant</th><th scope="col">Benign</th></tr></thead>
<tbody>{% for split, row in c.patients.items() %}<tr><th scope="row">{{ split }}</th>
{% for name in ["malignant", "benign"] %}<td>{{ "not told" if row[name] is none else row[name] }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></section>
{% for column, groups in c.subgroups.items() %}<section><h2>Patients by {{ column }}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Patients by {{ column }}"><table>
<caption>Small counts, and what would give them away, are not told</caption>
<thead><tr><th scope="col">{{ column }}</th><th scope="col">Patients</th></tr></thead>
<tbody>{% for name, count in groups.items() %}<tr><th scope="row">{{ name }}</th>
<td>{{ "not told" if count is none else count }}</td></tr>{% endfor %}</tbody></table></div></section>{% endfor %}
<section aria-labelledby="findings"><h2 id="findings">Open findings</h2>
{% if c.findings %}<div class="scroll" tabindex="0" role="region" aria-label="Findings"><table>
<caption>Codes and counts; which images they are stays at the site</caption>
<thead><tr><th scope="col">Code</th><th scope="col" class="text">Severity</th><th scope="col">Count</th></tr></thead>
<tbody>{% for finding in c.findings %}<tr><th scope="row">{{ finding.code }}</th>
<td class="text">{{ finding.severity }}</td><td>{{ "not told" if finding.count is none else finding.count }}</td></tr>
{% endfor %}</tbody></table></div>{% else %}<p>None.</p>{% endif %}</section>
<section aria-labelledby="made"><h2 id="made">How it was made</h2><dl class="facts">
<dt>Data</dt><dd>{{ c.dataset }}</dd><dt>Made</dt><dd>{{ c.made }}</dd>
<dt>Checks</dt><dd>
{% for name, version in c.checks.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}</dd>
<dt>Code digest</dt><dd>{{ c.code_digest }}</dd><dt>Key (Ed25519)</dt><dd>{{ c.key }}</dd>
<dt>Signature</dt><dd>{{ c.signature }}</dd></dl></section>
{% endblock %}
{% block footer %}Made by OncoFed at the site.{% endblock %}
"""


def page(certificate: Mapping[str, Any]) -> str:
    """Returns the certificate as self-contained HTML."""
    from common.reporting.templates.base import render

    return render("readiness", {"readiness": PAGE}, {"c": certificate})
