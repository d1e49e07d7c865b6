"""The privacy page of a study, as a Jinja2 template."""

STUDY_PRIVACY = """{% extends "base" %}
{% block title %}Privacy of the study{% endblock %}
{% block header %}
<p class="kicker">Privacy of the study</p>
<h1>What each site has spent</h1>
{% set open = rows | selectattr("private", "sameas", false) | map(attribute="site") | join(", ") %}
{% if open %}<div class="banner verdict bad"><p class="first">NOT PRIVATE at {{ open }}.</p></div>{% endif %}
{% set moved = rows | selectattr("cohort_changes") | map(attribute="site") | join(", ") %}
{% if moved %}<div class="banner warn"><strong>The cohort changed during the study at {{ moved }}.</strong> The site
agreed wherever it trained on.</div>{% endif %}
{% if rows | selectattr("seeded") | list %}<div class="banner warn"><strong>Seeded noise.</strong> This is a repeatable
simulation: whoever knows the seed can remove the noise.</div>{% endif %}
{% endblock %}
{% block main %}
<div class="scroll" tabindex="0" role="region" aria-label="Privacy by site"><table>
<thead><tr><th scope="col">Site</th><th scope="col">Epsilon of this study</th><th scope="col">Delta</th>
<th scope="col">Over all studies</th><th scope="col">Ceiling</th><th scope="col">Remaining</th>
<th scope="col" class="text">Signature and ledger</th></tr></thead>
<tbody>{% for r in rows %}<tr><th scope="row">
{%- if r.linked %}<a href="privacy/{{ r.site }}.html">{{ r.site }}</a>{% else %}{{ r.site }}{% endif %}</th>
{% if r.figures %}<td>{{ "%.4f"|format(r.figures.epsilon) }}</td><td>{{ "%.1e"|format(r.figures.delta) }}</td>
<td>{{ r.lifetime }}</td><td>{{ "%g"|format(r.figures.ceiling) }}</td>
<td>{{ "%.4f"|format(r.figures.remaining) }}</td>
{% else %}<td>no guarantee</td><td></td><td>{{ r.lifetime }}</td><td></td><td></td>
{% endif %}<td class="wrap">{{ r.checked }}</td></tr>
{% endfor %}</tbody></table></div>
<p>The figures are the sites' own, from their ledgers. They are not added: the patients of different hospitals are taken
to be different people. "right" says that nothing was changed after the key named in the file had signed it, that the
charged events are rows of the ledger under that key, and that the figures agree with each other. Whether the key is the
hospital's is for those who know it, and a second accountant is Google's:
<code>oncofed-site privacy verify privacy/SITE.json --public-key KEY</code> checks both.</p>
{% endblock %}
"""
