"""The privacy-budget report of one site, as a Jinja2 template."""

PRIVACY = """{% extends "base" %}
{% block title %}{{ "" if s.private else "NOT PRIVATE - " }}Privacy budget of {{ s.site }}{% endblock %}
{% block header %}
{% if not s.private %}
<div class="banner verdict bad"><p class="first">NOT PRIVATE: this study ran without differential privacy.</p>
<p>Its model may reveal who was in the training data. There is no epsilon to report.
Over all studies the epsilon of these patients is {{ lifetime }}.</p></div>
{% endif %}
<p class="kicker">Privacy budget report</p>
<h1>{{ s.site }}</h1>
{% if s.private %}
<section class="banner verdict {{ tone }}" aria-label="Budget">
<p class="first">This study spent epsilon {{ "%.2f"|format(s.epsilon) }} (delta {{ "%.1e"|format(s.delta) }})
for each patient. {% if lifetime == "unbounded" %}Over all studies it is unbounded: {{ s.unbounded_runs }} runs without
privacy were trained on these patients, and nothing remains of the site's ceiling of {{ "%.2f"|format(s.ceiling) }}.
{% else %}All studies on these patients together spent {{ lifetime }} of the site's
ceiling of {{ "%.2f"|format(s.ceiling) }}; {{ "%.2f"|format(s.remaining) }} remain.{% endif %}</p>
<p>{{ strength }} Strong: epsilon of at most 1 over all studies; moderate: at most 3; weak: more.</p>
</section>
{% endif %}
{% if s.cohort_changes %}<div class="banner warn"><strong>The cohort changed.</strong> Patients, labels or splits of
this site were changed {{ s.cohort_changes }} times during the study or since. It was trained on only where the site
agreed.</div>
{% endif %}
{% if s.private and s.seeded %}
<div class="banner warn"><strong>Seeded noise.</strong> This is a repeatable simulation: whoever knows the seed can
remove the noise.</div>
{% endif %}
{% if s.synthetic %}<div class="banner note"><strong>Synthetic data.</strong> No patient exists behind these numbers.
</div>{% endif %}
{% endblock %}
{% block main %}
{% if s.private %}
<h2>In plain words</h2>
{% if s.plain_words %}<p>{{ s.plain_words.text }}</p>
<p class="soft">The first figure is {{ s.plain_words.formula }} at this study's epsilon and delta
({{ s.plain_words.source }}).</p>{% else %}<p>Nothing has been charged yet.</p>{% endif %}
<h2>Spent, round by round</h2>
<figure><div class="picture" tabindex="0" role="group" aria-label="Figure: epsilon by round">{{ picture }}</div>
<figcaption>Epsilon of this study after each round that was charged, against the site's
ceiling. A round that was charged twice (after a crash) counts twice.</figcaption></figure>
<h2>What is guaranteed</h2>
<dl class="facts">
{% for name, value in facts %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}</dl>
<h2>What left the site</h2>
<ul>{% for item in s.released %}<li>{{ item }}</li>{% endfor %}</ul>
{% endif %}
<h2>What is not covered</h2>
<ul>{% for item in s.not_covered %}<li>{{ item }}</li>{% endfor %}</ul>
{% if s.private %}
<h2>Recompute it</h2>
<p>The file <code>{{ file }}</code> beside this page holds every charged event, signed with the key of the
site's ledger. <code>oncofed-site privacy verify {{ file }}</code> checks the signature and the ledger's rows, and
recomputes epsilon with Google's dp-accounting; any other accountant for the Poisson-sampled Gaussian mechanism can do
it too.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Events"><table>
<thead><tr><th scope="col">Round</th><th scope="col" class="text">Charged at (UTC)</th>
<th scope="col">Noise multiplier</th><th scope="col">Sampling rate</th><th scope="col">Steps</th></tr></thead>
<tbody>{% for e in s.events %}<tr><th scope="row">{{ e.round }}</th><td class="text">{{ e.time }}</td>
<td>{{ "%.4f"|format(e.noise_multiplier) }}</td><td>{{ "%.4f"|format(e.sampling_rate) }}</td><td>{{ e.steps }}</td></tr>
{% endfor %}</tbody></table></div>
{% if s.lifetime_events %}
<h3>All studies on these patients</h3>
<p>{% if lifetime == "unbounded" %}Beside the runs without privacy, these mechanisms were applied.{% else %}Epsilon
{{ "%.4f"|format(s.lifetime_epsilon) }} over all studies follows from these mechanisms together.{% endif %}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Mechanisms of all studies"><table>
<thead><tr><th scope="col">Noise multiplier</th><th scope="col">Sampling rate</th>
<th scope="col">Steps</th></tr></thead>
<tbody>{% for e in s.lifetime_events %}<tr><td>{{ "%.4f"|format(e.noise_multiplier) }}</td>
<td>{{ "%.4f"|format(e.sampling_rate) }}</td><td>{{ e.steps }}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}
{% endif %}
{% endblock %}
"""
