"""The privacy page of a study, as a Jinja2 template."""

STUDY_PRIVACY = """{% extends "base" %}
{% block title %}Privacy of the study{% endblock %}
{% block header %}
<p class="kicker">Study {{ first.study_digest[:12] }}</p>
<h1>What each site has spent</h1>
{% if rows | rejectattr("private") | list %}<div class="banner verdict bad"><p class="first">NOT PRIVATE at
{{ rows | rejectattr("private") | map(attribute="site") | join(", ") }}.</p></div>{% endif %}
{% if rows | selectattr("seeded") | list %}<div class="banner warn"><strong>Seeded noise.</strong> This is a repeatable
simulation: whoever knows the seed can remove the noise.</div>{% endif %}
{% endblock %}
{% block main %}
<div class="scroll" tabindex="0" role="region" aria-label="Privacy by site"><table>
<thead><tr><th scope="col">Site</th><th scope="col">Epsilon of this study</th><th scope="col">Delta</th>
<th scope="col">Over all studies</th><th scope="col">Ceiling</th><th scope="col">Remaining</th>
<th scope="col" class="wrap">Signature</th></tr></thead>
<tbody>{% for r in rows %}<tr><th scope="row"><a href="privacy/{{ r.site }}.html">{{ r.site }}</a></th>
{% if r.private %}<td>{{ "%.4f"|format(r.epsilon) }}</td><td>{{ "%.1e"|format(r.delta) }}</td>
<td>{{ "%.4f"|format(r.lifetime_epsilon) }}</td><td>{{ "%g"|format(r.ceiling) }}</td>
<td>{{ "%.4f"|format(r.remaining) }}</td>
{% else %}<td>no guarantee</td><td></td><td></td><td></td><td></td>
{% endif %}<td class="wrap">{{ r.signature }}</td></tr>
{% endfor %}</tbody></table></div>
<p>The figures are the sites' own, from their ledgers. They are not added: the patients of different hospitals are taken
to be different people. "right" says that nothing was changed after the key named in the file had signed it; whether
that key is the hospital's is for those who know it:
<code>oncofed-site privacy verify SITE.json --public-key KEY</code>.</p>
{% endblock %}
"""
