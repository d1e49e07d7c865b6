"""The page of what sites tell of a model in use, as a Jinja2 template."""

QUARTERS = """{% extends "base" %}
{% macro table(label, caption) %}<div class="scroll" tabindex="0" role="region" aria-label="{{ label }}"><table>
<caption>{{ caption }}</caption>{{ caller() }}</table></div>{% endmacro %}
{% block title %}Models in use - OncoFed{% endblock %}
{% block header %}
<p class="kicker">Models in use, a quarter at a time</p>
<h1>Models in use at the sites</h1>
<div class="banner verdict {{ 'bad' if m.drifting else 'good' }}" role="group" aria-label="State"><p class="first">
{% if m.drifting %}Drifting: {{ m.drifting|join(", ") }}.{% else %}No site's latest quarter drifts.{% endif %}</p>
<p>{{ m.promise }}.</p></div>
{% endblock %}
{% block main %}
<section aria-labelledby="tests"><h2 id="tests">Against the first quarter</h2>
<p>Each quarter is compared with the first one of its site and package, from noised counts. Under a test stands the
share of patients whose move between any two cells it sees with a probability of 80 %.</p>
{% call table("Tests", "Three tests a quarter") %}
<thead><tr><th scope="col">Site</th><th scope="col">Quarter</th><th scope="col">Share above</th>
<th scope="col">Abstentions</th><th scope="col">Scores</th></tr></thead>
<tbody>{% for row in m.quarters %}<tr><th scope="row">{{ row.site }}</th><td>{{ row.quarter }}</td>
{% if row.tests %}{% for one in row.tests %}<td>{% if one.drifts %}<strong>drifts</strong>{% else %}quiet{% endif %}
<span class="range">p {{ "%.2g"|format(one.p) }}, sees {{ "%.2f"|format(one.smallest) }}</span></td>{% endfor %}
{% else %}<td colspan="3">{{ row.note }}</td>{% endif %}</tr>
{% endfor %}</tbody>{% endcall %}</section>
<section aria-labelledby="quarters"><h2 id="quarters">Quarters</h2>
{% if m.quarters|selectattr("seeded")|list %}<div class="banner bad">Noise that is marked seeded can be repeated: it
protects nobody. It is for tests.</div>{% endif %}
{% call table("Quarters", "Figures of noised counts; PSI by chance is its mean if nothing changed") %}
<thead><tr><th scope="col">Site</th><th scope="col">Quarter</th><th scope="col">Package</th>
<th scope="col">Patients</th><th scope="col">Noise</th><th scope="col">Above</th><th scope="col">No answer</th>
<th scope="col">PSI</th></tr></thead>
<tbody>{% for row in m.quarters %}<tr><th scope="row">{{ row.site }}</th><td>{{ row.quarter }}</td>
<td>{{ row.package[:12] }}</td><td>about {{ row.patients }}</td>
<td>{{ row.deviation }}{% if row.seeded %} <strong>seeded</strong>{% endif %}</td>
<td>{% if row.above is none %}-{% else %}{{ "%.3f"|format(row.above) }}
<span class="range">&plusmn;{{ "%.3f"|format(row.above_error) }}</span>{% endif %}</td>
<td>{{ "-" if row.abstained is none else "%.3f"|format(row.abstained) }}</td>
<td>{% if row.psi is none %}-{% else %}{{ "%.3f"|format(row.psi) }}
<span class="range">by chance {{ "%.3f"|format(row.psi_by_chance) }}</span>{% endif %}</td></tr>
{% endfor %}</tbody>{% endcall %}</section>
{% endblock %}
"""
