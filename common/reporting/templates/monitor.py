"""The page of a site's monitor, as a Jinja2 template."""

MONITOR = """{% extends "base" %}
{% macro share(rate) %}{% if rate is none %}-{% else %}{{ "%.2f"|format(rate.value) }}
<span class="range">{{ "%.2f"|format(rate.low) }} to {{ "%.2f"|format(rate.high) }}</span>{% endif %}{% endmacro %}
{% macro table(label, caption) %}<div class="scroll" tabindex="0" role="region" aria-label="{{ label }}"><table>
<caption>{{ caption }}</caption>{{ caller() }}</table></div>{% endmacro %}
{% block title %}{{ state.title }}: monitor - OncoFed{% endblock %}
{% block header %}
<p class="kicker">Monitor of a model in use, {{ m.made[:16]|replace("T", " ") }} UTC</p>
<h1>{{ state.title }}</h1>
<div class="banner verdict {{ state.tone }}" role="group" aria-label="State"><p class="first">{{ state.first }}</p>
<p>{{ state.then }}</p></div>
{% if m.expired %}<div class="banner bad"><strong>Expired.</strong> The validation of this model is too old.</div>
{% endif %}
<nav aria-label="Parts"><ul>{% for name, title in parts %}<li><a href="#{{ name }}">{{ title }}</a></li>{% endfor %}
</ul></nav>
{% endblock %}
{% block main %}
<section aria-labelledby="alarms"><h2 id="alarms">Alarms</h2>
{% if not alarms %}<p>None. What each test could have seen stands with its stream below.</p>{% endif %}
{% for alarm in alarms %}<div class="banner bad"><p><strong>{{ alarm.stream }}: {{ alarm.measure }}</strong>
at {{ alarm.at }}. {{ alarm.found }}.</p>
<p>{{ alarm.rule }}. False alarms: {{ alarm.false_alarms }}. It can see {{ alarm.smallest }}.</p></div>
{% endfor %}</section>
{% for stream in m.streams %}<section aria-labelledby="{{ stream.stream }}">
<h2 id="{{ stream.stream }}">{{ titles[stream.stream] }}</h2>
<p>{{ meanings[stream.stream] }}</p>
{% for note in stream.notes %}<div class="banner note">{{ note }}.</div>
{% endfor %}
{% if stream.stream == "input" and windows %}
{% call table("Inputs by window", "p of each measure in the latest windows, PSI below it; rejected ones are marked") %}
<thead><tr><th scope="col">Window from</th><th scope="col">Exams</th>
{% for name in measures %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for window in windows %}<tr><th scope="row">{{ window.from }}</th><td>{{ window.exams }}</td>
{% for name in measures %}<td>{% set one = window.measures.get(name) %}{% if one is none %}-{% else %}
{% if one.rejected %}<strong>{{ "%.2g"|format(one.p) }} rejected</strong>{% else %}{{ "%.2g"|format(one.p) }}{% endif %}
<span class="range">PSI {{ "%.2f"|format(one.psi) }}</span>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody>{% endcall %}{% endif %}
{% if stream.stream == "score" %}
{% if stream.figures %}{% call table("Scores and the reference",
"Exams after the reference against it; limits in standard deviations") %}
<thead><tr><th scope="col">Measure</th><th scope="col">Exams</th><th scope="col">Mean</th><th scope="col">Reference</th>
<th scope="col">Limit up</th><th scope="col">Limit down</th></tr></thead>
<tbody>{% for row in stream.figures %}<tr><th scope="row">{{ row.measure }}</th><td>{{ row.exams }}</td>
<td>{{ "-" if row.mean is none else "%.3f"|format(row.mean) }}</td><td>{{ "%.3f"|format(row.reference) }}</td>
<td>{{ "%.1f"|format(row.limits_sd[0]) }}</td><td>{{ "%.1f"|format(row.limits_sd[1]) }}</td></tr>{% endfor %}</tbody>
{% endcall %}{% endif %}
{% call table("Weeks", "All exams of this model; the mean is that of the answered ones") %}
<thead><tr><th scope="col">Week</th><th scope="col">Exams</th><th scope="col">No answer</th><th scope="col">Above</th>
<th scope="col">Mean probability</th></tr></thead>
<tbody>{% for week in m.weeks[-12:] %}<tr><th scope="row">{{ week.week }}</th><td>{{ week.exams }}</td>
<td>{{ week.abstained }}</td><td>{{ week.above }}</td>
<td>{{ "-" if week.mean_probability is none else "%.3f"|format(week.mean_probability) }}</td></tr>{% endfor %}</tbody>
{% endcall %}{% endif %}
{% if stream.stream == "outcome" %}
{% call table("Outcomes by source", "By whose word the label is; never mixed. Limits of 95 %") %}
<thead><tr><th scope="col">Source</th><th scope="col">Labels</th><th scope="col">No answer</th>
<th scope="col">Malignant</th><th scope="col">Sensitivity</th><th scope="col">Specificity</th>
<th scope="col">Agreement</th><th scope="col">Observed less expected</th></tr></thead>
<tbody>{% for row in stream.figures %}<tr><th scope="row">{{ sources[row.source] }}</th><td>{{ row.labels }}</td>
<td>{{ row.unanswered }}</td><td>{{ row.malignant }}</td>
{% if row.source == "reader" %}<td>-</td><td>-</td><td>{{ share(row.agreement) }}</td>
{% else %}<td>{{ share(row.sensitivity) }}</td><td>{{ share(row.specificity) }}</td><td>-</td>{% endif %}
<td>{{ share(row.observed_less_expected) }}</td></tr>{% endfor %}</tbody>{% endcall %}
<p>Known by biopsy or interval: {% for side, row in m.verified.items() %}{{ row.verified }} of {{ row.answers }} answers
{{ side }} the threshold{{ ", " if not loop.last else "." }}{% endfor %} Rates are those among the verified.
{% if m.labels_of_unknown_exams %}{{ m.labels_of_unknown_exams }} labels are of exams without a record of this
model.{% endif %}</p>{% endif %}
{% if stream.claims %}<h3>What its tests promise</h3>
{% call table("Tests of the " ~ stream.stream, "How often each alarms for nothing, and what it can see") %}
<thead><tr><th scope="col">Measure</th><th scope="col" class="text">Test</th><th scope="col" class="text">False alarms
</th><th scope="col" class="text">Can see</th></tr></thead>
<tbody>{% for claim in stream.claims %}<tr><th scope="row">{{ claim.measure }}</th>
<td class="wrap">{{ claim.rule }}</td>
<td class="wrap">{{ claim.false_alarms }}</td><td class="wrap">{{ claim.smallest }}</td></tr>{% endfor %}</tbody>
{% endcall %}{% endif %}</section>
{% endfor %}
<section aria-labelledby="moves"><h2 id="moves">States of this model</h2>
{% call table("Moves", "Every move, from the site's signed journal") %}
<thead><tr><th scope="col">Time</th><th scope="col" class="text">State</th><th scope="col" class="text">Cause</th>
<th scope="col" class="text">By</th><th scope="col" class="text">Note</th></tr></thead>
<tbody>{% for move in m.moves %}<tr><th scope="row">{{ move.time[:16]|replace("T", " ") }}</th>
<td class="text">{{ move.to }}</td><td class="text">{{ move.cause }}</td><td class="text">{{ move.by|join(", ") }}</td>
<td class="wrap">{{ move.note or "-" }}</td></tr>{% endfor %}</tbody>{% endcall %}
<dl class="facts"><dt>Package</dt><dd>{{ m.model }}</dd>
<dt>Exams</dt><dd>{{ m.exams }}, {{ m.abstained }} without an answer</dd><dt>Labels</dt><dd>{{ m.labels }}</dd>
<dt>Reference</dt><dd>{% if m.reference %}{{ m.reference.exams }} exams from {{ m.reference.first }} to
{{ m.reference.last }}, {{ m.reference.digest[:16] }}{% else %}none is frozen{% endif %}</dd></dl></section>
{% endblock %}
{% block footer %}Made by OncoFed at the site; it stays there.{% endblock %}
"""
