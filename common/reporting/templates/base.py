"""The frame that every report shares: page, style, banners, and the Jinja2 environment.

Templates are Python strings because a Flower app bundle carries no ``.html`` file. Pages are self-contained:
no script, no font, no address outside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.notice import RESEARCH_USE

if TYPE_CHECKING:
    from jinja2 import Environment


STYLE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --band: #f4f6f8; --link: #0550ae;
  --good: #0f5c3a; --good-bg: #e3f4ea; --warn: #6b4400; --warn-bg: #fdf1d6; --bad: #8a1c1c; --bad-bg: #fce8e6;
  --note: #1f4a75; --note-bg: #e6f0fa; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e6e9ed; --soft: #a5afba; --line: #363d46; --band: #1d2229; --link: #7fb8ff;
  --good: #8fe0b4; --good-bg: #12301f; --warn: #f5cd7a; --warn-bg: #362808; --bad: #ffaaa3; --bad-bg: #3d1614;
  --note: #a8cdf5; --note-bg: #14283d; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.page { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
footer { margin-top: 3rem; padding-bottom: 2.5rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .875rem; }
h1 { font-size: 1.75rem; line-height: 1.2; letter-spacing: -.015em; margin: .25rem 0 .5rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.75rem 0 .5rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.3; margin: 1.75rem 0 .25rem; }
p, ul, ol, dl { margin: .5rem 0 1rem; max-width: 44rem; }
li { margin: .2rem 0; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, [tabindex]:focus-visible, summary:focus-visible { outline: 3px solid var(--link);
  outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem; }
.kicker { color: var(--soft); font-size: .9375rem; margin: 0; }
.lead { font-size: 1.0625rem; }
.soft, figcaption, caption { color: var(--soft); }
.banner { margin: .5rem 0; padding: .55rem .9rem; border-left: .3rem solid; border-radius: .2rem; max-width: none; }
.banner strong:first-child { margin-right: .25rem; }
.banner p { margin: .25rem 0; }
.banner ul { margin: .25rem 0; padding-left: 1.2rem; max-width: none; }
.good { color: var(--good); background: var(--good-bg); border-color: currentColor; }
.warn { color: var(--warn); background: var(--warn-bg); border-color: currentColor; }
.bad { color: var(--bad); background: var(--bad-bg); border-color: currentColor; }
.note { color: var(--note); background: var(--note-bg); border-color: currentColor; }
.verdict { padding: .9rem 1.1rem; margin: 1rem 0; }
.verdict p { max-width: none; }
.verdict .first { font-size: 1.1875rem; line-height: 1.4; font-weight: 600; margin: 0; }
.scroll { overflow-x: auto; margin: .75rem 0 1.25rem; border-radius: .2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .4rem; font-size: .875rem; max-width: calc(100vw - 2.5rem); }
th, td { padding: .4rem .75rem .4rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text, th.text, td.wrap { padding-left: .5rem; }
th:first-child, td:first-child { padding-left: .25rem; }
td.wrap { white-space: normal; min-width: 12rem; text-align: left; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; }
tr.total > * { border-top: 2px solid var(--line); background: var(--band); }
.range { color: var(--soft); display: block; font-size: .8125rem; }
dl.facts { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.25rem; max-width: none; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--band); padding: .75rem .9rem; overflow-x: auto; border-radius: .2rem; }
figure { margin: 1rem 0 1.5rem; }
figure .picture { border: 1px solid var(--line); border-radius: .3rem; padding: .75rem .5rem; overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; min-width: 25rem; max-width: 42rem; margin: 0 auto; }
figcaption { font-size: .875rem; margin-top: .4rem; max-width: 44rem; }
nav ul { list-style: none; padding: 0; margin: .75rem 0 0; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem;
  max-width: none; font-size: .9375rem; }
@media (max-width: 34rem) {
  .page { padding: 0 .9rem; } h1 { font-size: 1.4rem; } h2 { margin-top: 2rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: .5rem; }
  .verdict .first { font-size: 1.0625rem; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --band: #f2f2f2; --link: #000;
    --good: #0f5c3a; --good-bg: #fff; --warn: #6b4400; --warn-bg: #fff; --bad: #8a1c1c; --bad-bg: #fff;
    --note: #1f4a75; --note-bg: #fff; }
  @page { margin: 16mm; }
  body { font-size: 10pt; } .page { max-width: none; padding: 0; } nav, .skip { display: none; }
  h2, h3 { break-after: avoid; } figure, tr, .banner { break-inside: avoid; } .scroll { overflow: visible; }
  table { font-size: 8.5pt; } th, td { white-space: normal; } figure svg { max-width: 15cm; } }
"""

BASE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{% block title %}OncoFed{% endblock %}</title>
<style>{{ style }}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header class="page">
<div class="banner warn" role="note"><strong>{{ research_use }}</strong></div>
{% block header %}{% endblock %}
</header>
<main class="page" id="main">
{% block main %}{% endblock %}
</main>
<footer class="page">
<p>{% block footer %}Made by OncoFed.{% endblock %} {{ research_use }}.</p>
</footer>
</body>
</html>
"""


def environment(templates: Mapping[str, str]) -> Environment:
    """Returns a Jinja2 environment that knows ``base`` and the given templates by name.

    Everything is escaped unless it is ``Markup``, and an unknown variable is an error. A page begins with
    ``{% extends "base" %}`` and fills the blocks ``title``, ``header``, ``main`` and ``footer``.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=DictLoader({"base": BASE, **templates}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The style is our own constant; escaping its quotes would break it.
    made.globals.update(style=Markup(STYLE), research_use=RESEARCH_USE)
    return made


def render(name: str, templates: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Returns the HTML page of the template ``name`` with its values filled in."""
    return environment(templates).get_template(name).render(**values)
