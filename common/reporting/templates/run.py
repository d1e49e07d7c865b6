"""The page of one run, for a physician first and an engineer last."""

from __future__ import annotations

RUN = """{% extends "base" %}
{% from "macros" import interval, area, number, figure, signed with context %}
{% block title %}{{ run.name }}: {{ run.status }} - OncoFed run report{% endblock %}
{% block header %}
<p class="kicker">OncoFed run report</p>
<h1>{{ run.name }}</h1>
<div class="banner verdict {{ verdict.tone }}" role="group" aria-label="Verdict">
<p class="first">{{ verdict.status }}</p>
<p>{{ verdict.benefit }}</p>
{% if verdict.advice %}<ul>{% for line in verdict.advice %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
{% if verdict.lost %}<ul>{% for line in verdict.lost %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
</div>
{% if run.synthetic %}<div class="banner note" role="note"><strong>Synthetic data.</strong> The images are computed
phantoms, not patients. The figures show that the software works and say nothing about breast cancer.</div>
{% elif run.sites|selectattr("synthetic", "defined")|selectattr("synthetic")|list %}
<div class="banner note" role="note">
<strong>Some synthetic data,</strong> as these sites say of themselves:
{{ run.sites|selectattr("synthetic", "defined")|selectattr("synthetic")|map(attribute="name")|join(", ") }}.</div>
{% endif %}
{% if not run.private %}<div class="banner bad" role="note"><strong>NOT PRIVATE.</strong> This run trained without
differential privacy. Its model may reveal who was in the training data.</div>{% endif %}
{% if run.private and run.seeds.noise == "seeded" %}<div class="banner warn" role="note"><strong>Seeded noise:</strong>
repeatable simulation, not a guarantee. Whoever knows the seed can subtract the noise; a hospital draws it from its
operating system.</div>
{% elif run.private and run.seeds.noise == "mixed" %}<div class="banner warn" role="note"><strong>Seeded noise at some
sites,</strong> as they say of themselves; it is no guarantee for their patients:
{{ run.sites|selectattr("seeded", "defined")|selectattr("seeded")|map(attribute="name")|join(", ") }}.</div>{% endif %}
<nav aria-label="Sections"><ul>
<li><a href="#headline">Headline</a></li>{% if outside %}<li><a href="#outside">Hospitals outside</a></li>{% endif %}
<li><a href="#value">Value of federating</a></li>
<li><a href="#trained">What was trained, on whom</a></li><li><a href="#rounds">Round by round</a></li>
<li><a href="#test">Test results</a></li><li><a href="#groups">Subgroups</a></li><li><a href="#privacy">Privacy</a></li>
<li><a href="#attention">Where the model looks</a></li><li><a href="#unmeasured">What was not measured</a></li><li><a
href="#reproduce">Reproduce</a></li>
<li><a href="#data">Data</a></li></ul></nav>
{% endblock %}
{% block main %}
<section aria-labelledby="headline">
<h2 id="headline">Headline: who gains</h2>
{% if headline %}
<div class="scroll" tabindex="0" role="region" aria-label="Headline table"><table>
<caption>Area under the ROC curve (AUROC) on each site's own test patients: 0.5 is chance, 1 is perfect; below it the
{{ confidence }} interval.</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Patients:<br>training, test</th>
<th scope="col">Epsilon<br>spent</th>{% if has.public_auroc %}<th scope="col">Public<br>checkpoint</th>{% endif %}
<th scope="col">At home</th><th scope="col">Federated</th>{% if has.joined_auroc %}
<th scope="col">Home +<br>federation</th>{% endif %}{% if has.gain %}<th scope="col">Gain over<br>home</th>{% endif %}
<th scope="col" class="text">{% if has.gain %}Joining is{% else %}Federated is, against<br>its own model{% endif %}</th>
</tr></thead>
<tbody>{% for row in headline %}
{% set total = loop.last and evaluation is not none %}
<tr{% if total %} class="total"{% endif %}><th scope="row">{{ named(row.site) }}</th>
<td>{{ number(row.patients, "%d") }}, {{ number(row.test_patients, "%d") }}</td>
<td>{% if not run.private %}not private{% else %}{% if total %}at most {% endif %}{{ number(row.epsilon, "%.2f") }}
{% endif %}</td>{% if has.public_auroc %}<td>{{ area(row.public_auroc) }}</td>{% endif %}
<td>{{ area(row.local_auroc) }}</td><td>{{ area(row.auroc) }}</td>
{% if has.joined_auroc %}<td>{{ area(row.joined_auroc) }}</td>{% endif %}
{% if has.gain %}<td>{{ signed(row.gain if row.gain.value is not none else none) }}</td>{% endif %}
<td class="text">{{ row.outcome }}</td></tr>{% endfor %}
</tbody></table></div>
{% if evaluation is not none %}
<p class="soft">At home: the best model that the site makes alone of its training and validation patients, a tuned
network or a linear model, without privacy noise because it never leaves the site.{% if has.joined_auroc %} Home +
federation: its sum with the scores of the federated model, as it came or tuned at home, where patients held out in
turn show a lead; else the model made at home itself.{% endif %} "Better" and "worse"
are shown by the paired difference on the same test patients, with all sites together in mind (Holm). All sites:
patients are compared with patients of their own site only, each site counting by its pairs of a malignant and a benign
one; scores of two sites' models are never ranked together. Intervals cover the chance of drawing these patients, not
the training seed.{% if gain_of_some %} {{ gain_of_some }}{% endif %}</p>
{% endif %}
{% else %}<p>Not measured: no site took part.</p>{% endif %}
{{ figure("forest", "Test AUROC with " ~ confidence ~ " intervals, federated (circles) above at home (squares).") }}
</section>

{% include "outside" %}

{% include "value" %}

<section aria-labelledby="trained">
<h2 id="trained">What was trained, on whom</h2>
<dl class="facts">
<dt>Task</dt><dd>Malignant against benign, one probability for each patient (the mean over the patient's images)</dd>
<dt>Data</dt><dd>{{ run.dataset.name }}{% if run.synthetic %} (synthetic){% endif %}</dd>
<dt>Model</dt><dd>{{ run.model.name }}, trained part: {{ run.model.part }}
{% if run.model.trainable is defined %}
({{ "{:,}".format(run.model.trainable) }} of {{ "{:,}".format(run.model.parameters) }} parameters)
{% endif %}</dd>
<dt>Rounds</dt><dd>{{ run.rounds_done }} of {{ run.rounds_planned }} done{% if run.best_round %}; the model of round
{{ run.best_round }} {{ "is the last" if last_round else "was best on validation patients" }} and is the one
tested{% endif %}</dd>
{% if study.strategy is defined %}<dt>Aggregation</dt><dd>{{ study.strategy.name }}, quorum
{{ study.strategy.quorum }}</dd>{% endif %}
{% if study.training is defined and study.training.method|default("") == "statistics" %}<dt>Local training</dt>
<dd>statistics: one noisy sum over all patients a round, of public coordinates</dd>
{% elif study.training is defined %}<dt>Local training</dt><dd>{{ study.training.optimizer }}, learning rate
{{ study.training.lr }}, {{ study.training.batch_patients }} patients a step expected</dd>{% endif %}
<dt>When</dt><dd>{{ when }}</dd>
</dl>
{% if site_rows %}
<div class="scroll" tabindex="0" role="region" aria-label="Patients by site"><table>
<caption>Patients by site and split (malignant / benign). Beforehand a site tells no small counts, nor
those that would give them away; how many it scored comes with its scores.</caption>
<thead><tr><th scope="col">Site</th>{% for split in ["Training", "Validation", "Test"] %}
<th scope="col">{{ split }}</th>{% endfor %}<th scope="col">Rounds<br>joined</th>
<th scope="col" class="text">State</th></tr></thead>
<tbody>{% for site in site_rows %}<tr><th scope="row">{{ site.name }}</th>
{% for split in splits %}{% set cell = site.cells[split] %}
<td>{% if cell %}{{ cell.patients }}<span class="range">{{ cell.malignant }} / {{ cell.benign }}</span>
{% else %}<span class="soft">not known</span>{% endif %}</td>{% endfor %}
<td>{{ site.rounds }}</td><td class="wrap">{{ site.state }}</td></tr>{% endfor %}
</tbody></table></div>
{% else %}<p>No site took part.</p>{% endif %}
{{ figure("labels-by-site", "Malignant and benign patients in each site's training split.") }}
</section>

<section aria-labelledby="rounds">
<h2 id="rounds">Round by round</h2>
{{ figure("auroc-by-round", "AUROC on validation patients after each round. A gap is a round without a value.") }}
{% if failures %}
<div class="scroll" tabindex="0" role="region" aria-label="Failures by round"><table>
<caption>Sites that a round had to do without</caption>
<thead><tr><th scope="col">Round</th><th scope="col" class="text">Site</th><th scope="col" class="text">Why</th></tr>
</thead><tbody>{% for failure in failures %}<tr><td>{{ failure.round }}</td><td class="text">{{ failure.site }}</td>
<td class="wrap">{{ failure.words }} ({{ failure.code }})</td></tr>{% endfor %}</tbody></table></div>
{% endif %}
{% include "influence" %}
</section>

<section aria-labelledby="test">
<h2 id="test">Test results</h2>
{% if evaluation is none %}
<p>Not measured: {{ untested }}.</p>
{% else %}
<p>Once, at the end, on patients that no round had seen. The federated model calls a patient malignant at a
probability of {{ number(evaluation.threshold, "%.4g") }} or more, fixed before the test was opened; a home model at
the threshold that the site's own patients chose, held out in turn. Rates stand with their {{ confidence }} Wilson
interval, AUROC with DeLong's (or Newcombe's where few patients or a perfect area leave DeLong's meaningless). Scores
travel as counts in bins{% if evaluation.score_noise|default(0) %}, with noise on each{% else %}, and a hospital tells
them in groups of patients at one rounded score, as its policy says{% endif %}{% if
binning_error is not none %}; that moves a site's AUROC in this report by at most
{{ number(binning_error, "%.5f") }}{% endif %}.</p>
{{ figure("roc", "ROC curves of the federated model on test patients, with AUROC; the band is the pooled curve's " ~
confidence ~
" interval at each point.") }}
{% include "clinical" %}
{% for table in tables %}
<h3>{{ table.title }}</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Metrics, {{ table.title }}"><table>
<caption>{{ table.title }} on test patients{% if table.model == "local" %}: each site's own model; pooled counts their
calls together and ranks no scores of two models{% endif %}</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Patients</th>{% for key, name in metrics %}
<th scope="col">{{ name }}</th>
{% if key == "accuracy" %}<th scope="col">All called by the<br>larger class</th>{% endif %}
{% endfor %}</tr></thead>
<tbody>{% for site, values in table.rows %}<tr{% if loop.last and site == "pooled" %} class="total"{% endif %}>
<th scope="row">{{ site }}</th><td>{{ values.patients }}</td>
{% for key, name in metrics %}<td>{{ interval(values[key]) }}</td>{% if key == "accuracy" %}<td>{{
number(values.majority_share|default(none), "%.3f") }}</td>{% endif %}{% endfor %}</tr>{% endfor %}
</tbody></table></div>
<div class="scroll" tabindex="0" role="region" aria-label="Confusion, {{ table.title }}"><table>
<caption>Patients by truth and call at {% if table.model == "local" %}each site's own threshold{% else %}
{{ number(evaluation.threshold, "%.4g") }}{% endif %}</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Malignant,<br>found</th><th scope="col">Malignant,<br>missed</th>
<th scope="col">Benign,<br>cleared</th><th scope="col">Benign,<br>false alarm</th></tr></thead>
<tbody>{% for site, values in table.rows %}<tr{% if loop.last and site == "pooled" %} class="total"{% endif %}>
<th scope="row">{{ site }}</th><td>{{ values.confusion.tp }}</td><td>{{ values.confusion.fn }}</td>
<td>{{ values.confusion.tn }}</td><td>{{ values.confusion.fp }}</td></tr>{% endfor %}</tbody></table></div>
{% endfor %}
{% endif %}
</section>

{% include "groups" %}

<section aria-labelledby="privacy">
<h2 id="privacy">Privacy</h2>
{% if run.private %}
<p>{% if run.secure_sum|default(none) %}The sites together add noise to the sum of their training{% else %}Each site
adds noise to its own training{% endif %} so that the model would have come out nearly the same without any one
patient. Epsilon bounds "nearly": whatever an onlooker believed about whether a given patient took part, what
training released multiplies those odds by at most e to the power of epsilon.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Privacy by site"><table>
<caption>Privacy spent by site, from its own ledger</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Epsilon</th><th scope="col">Odds change<br>at most</th>
<th scope="col">Delta</th><th scope="col">Ceiling</th><th scope="col" class="text">Unit</th>
<th scope="col" class="text">Neighbours</th><th scope="col" class="text">Accountant</th>
<th scope="col" class="text">Statement</th></tr></thead>
<tbody>{% for row in privacy %}<tr><th scope="row">{{ row.site }}</th><td>{{ number(row.epsilon, "%.2f") }}</td>
<td>{% if row.odds %}{{ row.odds }} times{% else %}<span class="soft">not known</span>{% endif %}</td>
<td>{{ number(row.delta, "%.1e") }}</td><td>{{ number(row.ceiling, "%.2f") }}</td>
<td class="text">{{ row.unit or "patient" }}</td><td class="text">{{ row.relation or "not stated" }}</td>
<td class="text">{{ row.accountant or "not stated" }}</td>
<td class="text">{% if row.link %}<a href="{{ row.link }}">of {{ row.site }}</a>{% else %}none written{% endif %}</td>
</tr>{% endfor %}</tbody></table></div>
{{ figure("epsilon-by-round", "Epsilon that each ledger had charged after each round, and the sites' ceilings.") }}
{{ figure("epsilon-auroc", "What privacy bought: pooled AUROC on validation patients against the largest epsilon
charged by then.") }}
<p>The guarantee of one site holds for its own patients. It adds up for a woman who was a patient of several sites.
{%- if privacy_page %} <a href="{{ privacy_page }}">Signed statements of all sites, checked</a>.{% endif %}</p>
{% else %}
<p><strong>There is no privacy guarantee:</strong> the study was run with <code>privacy=none</code>, without clipping
and without noise.</p>
{% endif %}
{% include "secure_sum" %}
<h3>Not covered by any guarantee</h3>
{% if run.not_covered %}<ul>{% for item in run.not_covered %}<li>{{ item }}</li>{% endfor %}</ul>
{% else %}<p>The run lists nothing.</p>{% endif %}
</section>

{% include "attention" %}

<section aria-labelledby="unmeasured">
<h2 id="unmeasured">What was not measured</h2>
<ul>{% for line in unmeasured %}<li>{{ line }}</li>{% endfor %}</ul>
</section>

<section aria-labelledby="reproduce">
<h2 id="reproduce">How to reproduce</h2>
<pre tabindex="0" role="region" aria-label="Command">{{ command }}</pre>
<dl class="facts">
<dt>Study digest</dt><dd><code>{{ run.study_digest }}</code></dd>
<dt>Code digest</dt><dd><code>{{ run.code_digest }}</code></dd>
<dt>Run</dt><dd><code>{{ run.run_id }}</code>, engine {{ run.engine }}</dd>
<dt>Seed</dt><dd>{{ run.seeds.seed }}; noise: {{ run.seeds.noise }}{% if run.seeds.noise == "seeded" %} (the same
seed gives the same run){% elif run.seeds.noise == "mixed" %} (seeded at some
sites only){% else %} (no two runs are equal, by intent){% endif %}</dd>
<dt>Versions</dt><dd>{% for name, version in run.versions|dictsort %}{{ name }} {{ version }}
{%- if not loop.last %}, {% endif %}{% else %}not recorded{% endfor %}</dd>
</dl>
</section>

<section aria-labelledby="data">
<h2 id="data">Data: licence and citation</h2>
<dl class="facts">
<dt>Data set</dt><dd>{{ run.dataset.name }}</dd>
<dt>Licence</dt><dd>{{ run.dataset.licence|default("not stated", true) }}</dd>
<dt>Citation</dt><dd>{{ run.dataset.citation|default("not stated", true) }}</dd>
</dl>
{% if run.dataset.notes|default([]) %}<ul>{% for note in run.dataset.notes %}<li>{{ note }}</li>
{% endfor %}</ul>{% endif %}
</section>
{% endblock %}
{% block footer %}Made by OncoFed from the files of this run's folder.{% endblock %}
"""
