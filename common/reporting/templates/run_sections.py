"""Sections of a run's page, and the macros that they share."""

from __future__ import annotations

MACROS = """{% macro interval(x, digits=3) %}
{% if x is none or x.value is none %}<span class="soft">not defined</span>
{% else %}{{ ("%." ~ digits ~ "f")|format(x.value) }}
{% if x.low is defined and x.low is not none %}<span class="range">{{ ("%." ~ digits ~ "f")|format(x.low) }} to
{{ ("%." ~ digits ~ "f")|format(x.high) }}</span>{% endif %}{% endif -%}
{% endmacro %}
{% macro area(x) %}{% if x.value is none %}<span class="soft">not measured</span>{% else %}
{{- interval(x) }}{% endif %}{% endmacro %}
{% macro number(x, pattern) %}{% if x is none %}<span class="soft">not known</span>{% else %}
{{- pattern|format(x) }}{% endif %}{% endmacro %}
{% macro figure(name, caption) %}
{% if name in figures %}
<figure>
<div class="picture" tabindex="0" role="group" aria-label="Figure: {{ name|replace('-', ' ') }}">
{{ figures[name] }}</div>
<figcaption>{{ caption }} <a href="plots/{{ name }}.csv">Values (CSV)</a>,
<a href="plots/{{ name }}.svg">figure (SVG)</a>.</figcaption>
</figure>
{% else %}
<p class="soft">Not measured: this run left no values to draw.</p>
{% endif %}
{% endmacro %}
{% macro signed(x) %}{% if x is none %}<span class="soft">not measured</span>
{%- elif x.method|default("") == "same scores" or x.low is none %}0<span class="range">same ranking</span>
{%- else %}{{ "%+.3f"|format(x.value) }}
<span class="range">{{ "%+.3f"|format(x.low) }} to {{ "%+.3f"|format(x.high) }}</span>{% endif %}{% endmacro %}
"""

_IMPORT = """{% from "macros" import interval, area, number, figure, signed with context %}"""

VALUE = (
    _IMPORT
    + """
<section aria-labelledby="value">
<h2 id="value">Value of federating</h2>
{% if value.rows %}
<div class="scroll" tabindex="0" role="region" aria-label="Models compared"><table>
<caption>AUROC of the models that a site could use, on the same test patients, and the paired difference federated
less at home
with its {{ confidence }} interval. Margin: {{ "%g"|format(value.margin) }}.</caption>
<thead><tr><th scope="col">Site</th>{% for model in value.models %}<th scope="col">{{ model.title }}</th>{% endfor %}
<th scope="col">Federated<br>less home</th><th scope="col" class="text">Shown</th></tr></thead>
<tbody>{% for row in value.rows %}<tr{% if row.site == "pooled" %} class="total"{% endif %}>
<th scope="row">{{ named(row.site) }}</th>
{% for model in value.models %}<td>{{ area(row.areas[model.name]) }}</td>{% endfor %}
<td>{{ signed(row.difference) }}</td><td class="wrap">{{ row.words }}</td></tr>{% endfor %}</tbody></table></div>
<p class="soft">Shown is what this difference says of the federated model by itself, with all sites together in mind
(Holm); what joining gives stands in the headline. Non-inferior: the interval lies above minus the margin.
Equivalent: it lies within the margin on both sides. The difference over all
sites is the mean of the sites' differences by their pairs of patients.
{% for line in reliability %}{{ line }} {% endfor %}
Differences of one run do not cover the training seed; several seeds do
(<code>oncofed-sim run ... seed=1</code>).</p>
{{ figure("differences", "Paired difference of AUROC, federated less home, with " ~ confidence ~ " intervals.") }}
{% if value.spread %}<p>{{ value.spread }}</p>{% endif %}
{% else %}<p>Not measured: this run has no model of a hospital alone to compare with.</p>{% endif %}
</section>
"""
)

OUTSIDE = (
    _IMPORT
    + """
{% if outside %}
<section aria-labelledby="outside">
<h2 id="outside">Hospitals that took no part</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Hospitals outside"><table>
<caption>AUROC on all patients of hospitals that trained nothing, as if they had no labels</caption>
<thead><tr><th scope="col">Hospital</th><th scope="col">Patients</th><th scope="col">Public<br>checkpoint</th>
<th scope="col">Federated</th><th scope="col">Federated<br>less public</th>
<th scope="col" class="text">Federated is</th></tr></thead>
<tbody>{% for row in outside %}<tr><th scope="row">{{ row.site }}</th><td>{{ row.patients }}</td>
<td>{% if row.public %}{{ area(row.public) }}{% else %}<span class="soft">none</span>{% endif %}</td>
<td>{{ area(row.federated) }}</td><td>{{ signed(row.difference) }}</td><td class="text">{{ row.words }}</td>
</tr>{% endfor %}</tbody></table></div>
<p class="soft">Such a hospital has the public checkpoint or the federated model, and cannot measure either. Only a
simulation knows its labels. The same margin and correction for several hospitals (Holm) hold as above.</p>
</section>
{% endif %}
"""
)

CLINICAL = (
    _IMPORT
    + """
{{ figure("precision-recall", "Precision against recall of the federated model, pooled, with its " ~ confidence ~ "
band.") }}
{{ figure("reliability", "Reliability: does a probability of 0.3 mean 3 in 10? Points above the line are
under-estimates.") }}
{% if judgement %}<ul>{% for line in judgement %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
{% if ece and ece.by_chance is defined and ece.by_chance is not none %}<p class="soft">Expected calibration error (ECE),
pooled:
{{ number(ece.value, "%.3f") }}; with so few patients probabilities that are exactly right show
{{ number(ece.by_chance, "%.3f") }}.</p>{% endif %}
{% if calibration %}
<div class="scroll" tabindex="0" role="region" aria-label="Calibration"><table>
<caption>Calibration of the federated model as it is, and after a correction that each site fits on its own validation
patients (temperature: one number; Platt: two)</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Validation<br>patients</th>{% for name in calibration.kinds %}
<th scope="col">Brier,<br>{{ name }}</th>{% endfor %}{% for name in calibration.kinds %}
<th scope="col">ECE,<br>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in calibration.rows %}<tr{% if row.site == "pooled" %} class="total"{% endif %}><th scope="row">{{
row.site }}</th>
<td>{{ number(row.patients, "%d") }}</td>{% for part in row.brier %}<td>{{ number(part, "%.3f") }}</td>{% endfor %}
{% for part in row.ece %}<td>{{ number(part, "%.3f") }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% endif %}
{{ figure("decision-curve", "Net benefit (Vickers and Elkin 2006): true positives less false alarms weighed by the
threshold; useful
where the model lies above both others.") }}
"""
)

GROUPS = (
    _IMPORT
    + """
<section aria-labelledby="groups">
<h2 id="groups">Subgroups</h2>
{% if groups %}
{% for attribute in groups.attributes %}
<div class="scroll" tabindex="0" role="region" aria-label="Subgroups by {{ attribute.name }}"><table>
<caption>Federated model by {{ attribute.name }}; a group of fewer than {{ groups.min_group }} test patients has no
rates</caption>
<thead><tr><th scope="col">{{ attribute.name }}</th><th scope="col">Patients</th><th scope="col">Malignant</th>
{% for name in ["AUROC", "Sensitivity", "Specificity"] %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for name, row in attribute.rows %}<tr><th scope="row">{{ name }}</th><td>{{ row.patients }}</td>
<td>{{ row.malignant }}</td>{% for key in ["auroc", "sensitivity", "specificity"] %}
<td>{% if row.enough %}{{ interval(row[key]) }}{% else %}<span class="soft">too few</span>{% endif %}</td>{% endfor %}
</tr>{% endfor %}</tbody></table></div>
{% if attribute.gap %}<p>{{ attribute.gap }}</p>{% endif %}
{% endfor %}
{% else %}<p>Not measured: the sites counted no subgroup that is large enough to leave.</p>{% endif %}
</section>
"""
)

ATTENTION = (
    _IMPORT
    + """
<section aria-labelledby="attention">
<h2 id="attention">Where the model looks</h2>
{% if attention %}
<p><strong>{{ attention.label }}.</strong> Measures of {{ attention.method }} maps on test patients, each beside
chance: what a map
without knowledge would get. Pictures stay at the sites.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Attention"><table>
<caption>All sites together, by {{ attention.by }}; chance in the second line</caption>
<thead><tr><th scope="col">{{ attention.by | capitalize }}</th><th scope="col">Patients</th>
{% for name in attention.measures %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in attention.rows %}<tr><th scope="row">{{ row.outcome }}</th><td>{{ row.patients }}</td>
{% for cell in row.cells %}<td>{% if cell %}{{ "%.2f"|format(cell.value) }}<span class="range">{{
"%.2f"|format(cell.chance) }}</span>
{% else %}<span class="soft">not measured</span>{% endif %}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% if attention.sanity %}<p>{{ attention.sanity }}</p>{% endif %}
{% if attention.kept %}<p>Not told by {{ attention.kept }}, whose policy keeps it.</p>{% endif %}
{% else %}<p>Not measured: the study did not ask its sites (<code>evaluation.attention</code>). Of emulated hospitals
<code>oncofed-sim explain RUN</code> measures it on a finished run; then make this page again with
<code>oncofed-sim report RUN</code>.</p>{% endif %}
</section>
"""
)

INFLUENCE = (
    _IMPORT
    + """
{% if run.influence|default([]) %}
<div class="scroll" tabindex="0" role="region" aria-label="Influence of each site"><table>
<caption>Influence of each site: its share of the weights, its longest update, the rounds in which the hub scaled it
down, and the pooled validation AUROC of the chosen round without its patients</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Weight</th><th scope="col">Longest<br>update</th>
<th scope="col">Scaled<br>down</th><th scope="col">AUROC<br>without it</th><th scope="col">Difference</th></tr></thead>
<tbody>{% for row in run.influence %}<tr><th scope="row">{{ row.site }}</th><td>{{ "%.1f %%"|format(100 * row.weight) }}
</td><td>{{ number(row.largest_norm, "%.3g") }}</td><td>{{ row.clipped_rounds }}</td>
<td>{{ number(row.auroc_without, "%.3f") }}</td><td>{{ number(row.moves, "%+.3f") }}</td></tr>{% endfor %}
</tbody></table></div>
<p class="soft">A site whose scores lift the pooled figure far more than its share, or whose updates are scaled down
round after round, deserves a telephone call: a hospital can invent scores within the numbers it declared, and no check
of the hub can see that. Being scaled down is no proof of dishonesty: where the others' updates are short, an honest one
is scaled down too. What the model would be without a site's updates was not measured.</p>
{% endif %}
"""
)

SECURE_SUM = """
{% if run.secure_sum|default(none) %}
<h3>Shared noise</h3>
<p>The sites shared the noise in secure sums: the hub saw the sum of all updates only. The epsilon above holds against
the hub together with {{ run.secure_sum.colluders }} of the sites, or with as many more as a site's statement says.
Against the hub together with all other sites, what is left is:</p>
<ul>{% for row in privacy %}<li>{{ row.site }}: epsilon {{ row.alone or "not stated" }}</li>{% endfor %}</ul>
{% if run.secure_sum.void %}<p>These attempts could not be read, since a site dropped out; the others trained anew and
paid again:</p><ul>{% for attempt in run.secure_sum.void %}<li>round {{ attempt.round }}, attempt
{{ attempt.attempt }} of {{ attempt.sites }} sites: {% for site, code in attempt.dropped.items() %}{{ site }}
({{ code }}){{ ", " if not loop.last }}{% endfor %}</li>{% endfor %}</ul>{% endif %}
<p>So this run does not know:</p>
<ul>{% for line in run.secure_sum.not_known %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif %}
"""

SECTIONS = {
    "secure_sum": SECURE_SUM,
    "influence": INFLUENCE,
    "macros": MACROS,
    "outside": OUTSIDE,
    "value": VALUE,
    "clinical": CLINICAL,
    "groups": GROUPS,
    "attention": ATTENTION,
}
