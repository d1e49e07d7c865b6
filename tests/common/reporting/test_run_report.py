"""The run report tells the truth about what the folder holds, and only that."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from common.errors import ConfigError, SiteCode
from common.reporting.run_report import headline_table, write_run_report
from common.reporting.verdict import PLAIN_CODES

MakeRun = Callable[..., Path]


def text_of(report: Path) -> str:
    """Returns the report's visible text with spaces squeezed."""
    html = re.sub(r"<style>.*?</style>", "", report.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def rewrite(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


class Outline(HTMLParser):
    """Collects headings, ids, landmarks, addresses and unlabelled figures."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.unlabelled: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [values["id"] or ""] if "id" in values else []
        self.addresses += [values[key] or "" for key in ("href", "src", "xlink:href") if key in values]
        if tag == "svg" and not (values.get("aria-label") and values.get("role") == "img"):
            self.unlabelled.append(tag)


def outline_of(report: Path) -> Outline:
    parser = Outline()
    parser.feed(report.read_text(encoding="utf-8"))
    return parser


def test_page_and_table_show_the_values_of_the_evaluation(make_run: MakeRun) -> None:
    folder = make_run()
    evaluation = json.loads((folder / "evaluation.json").read_text())
    rows, text = headline_table(folder), text_of(write_run_report(folder))
    assert [row["site"] for row in rows] == ["site_1", "site_2", "site_3", "site_4", "pooled"]
    for row in rows:
        for key, model in (("auroc", "federated"), ("local_auroc", "local")):
            block = evaluation["models"][model]
            metrics = block["pooled"] if row["site"] == "pooled" else block["sites"][row["site"]]
            area = block["within_sites"] if row["site"] == "pooled" else metrics["auroc"]
            assert row[key] == {part: area[part] for part in ("value", "low", "high")}
            assert "{value:.3f} {low:.3f} to {high:.3f}".format(**row[key]) in text
            assert "{value:.3f} {low:.3f} to {high:.3f}".format(**metrics["sensitivity"]) in text
    assert rows[0]["patients"] == 600 and rows[0]["test_patients"] == 150 and rows[0]["epsilon"] == 8.0
    assert rows[-1]["patients"] == 1296 and rows[-1]["epsilon"] == 8.0


def test_the_same_folder_gives_the_same_bytes(make_run: MakeRun) -> None:
    folder = make_run()
    files = [write_run_report(folder), *sorted((folder / "plots").iterdir())]
    first = [file.read_bytes() for file in files]
    write_run_report(folder)
    assert [file.read_bytes() for file in files] == first


def test_page_is_self_contained_and_has_an_outline(make_run: MakeRun) -> None:
    outline = outline_of(write_run_report(make_run()))
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids))
    assert not outline.unlabelled and "svg" in outline.tags
    assert {"header", "main", "footer", "nav"} <= set(outline.tags)
    assert not {"script", "link", "img", "iframe", "form"} & set(outline.tags)
    assert all(re.match(r"#|plots/|privacy/", address) for address in outline.addresses)


def test_every_link_to_a_file_leads_to_one(make_run: MakeRun) -> None:
    folder = make_run()
    (folder / "privacy" / "site_1.html").write_text("<!doctype html>")
    links = {address for address in outline_of(write_run_report(folder)).addresses if not address.startswith("#")}
    assert {"privacy/site_1.html", "privacy/site_2.json", "plots/roc.csv"} <= links
    assert all((folder / link).is_file() for link in links)


def test_figures_are_svg_with_their_values_beside(make_run: MakeRun) -> None:
    folder = make_run()
    write_run_report(folder)
    by_site = {"forest", "auroc-by-round", "roc", "epsilon-by-round", "labels-by-site", "differences"}
    pooled = {"precision-recall", "reliability", "decision-curve", "epsilon-auroc"}
    assert {file.stem for file in (folder / "plots").iterdir()} == by_site | pooled
    for name in by_site | pooled:
        root = ElementTree.parse(folder / "plots" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg") and root.get("aria-label")
        assert ("site_1" if name in by_site else "0.") in "".join(root.itertext()), "text must stay text"
        assert len(list(csv.reader((folder / "plots" / f"{name}.csv").read_text().splitlines()))) > 4


def test_small_counts_stay_suppressed(make_run: MakeRun) -> None:
    assert "not told / 8" in text_of(write_run_report(make_run()))


def test_banners_follow_the_run(make_run: MakeRun) -> None:
    real = text_of(write_run_report(make_run()))
    assert "Research use only - not a medical device" in real
    assert "Seeded noise:" in real and "NOT PRIVATE" not in real and "Synthetic data." not in real
    emulated = text_of(write_run_report(make_run(private=False, synthetic=True)))
    assert "NOT PRIVATE." in emulated and "Synthetic data." in emulated and "Seeded noise:" not in emulated
    hospital = text_of(write_run_report(make_run({"seeds": {"seed": 0, "noise": "os-entropy"}})))
    assert "Seeded noise:" not in hospital


def test_partial_says_who_and_why(make_run: MakeRun) -> None:
    folder = make_run({"status": "PARTIAL"})
    rewrite(folder, "run.json", lambda d: d["sites"][2].update(status="lost", code="budget-refused", rounds=3))
    rewrite(folder, "evaluation.json", lambda d: [m["sites"].pop("site_3") for m in d["models"].values()])
    rewrite(folder, "evaluation.json", lambda d: d["do_no_harm"]["sites"].pop("site_3"))
    text = text_of(write_run_report(folder))
    assert "PARTIAL: 1 of 4 sites lost" in text
    assert "site_3 refused: the request would have passed its privacy ceiling (budget-refused)" in text
    assert "site_3: not measured: no model of its own to compare with" in text


def test_failed_before_the_first_round_claims_nothing(make_run: MakeRun) -> None:
    folder = make_run(
        {"status": "FAILED", "reason": "1 site connected, the quorum is 2", "rounds_done": 0, "sites": []}
    )
    for name in ("evaluation.json", "metrics.jsonl", "study.yaml", "overrides.yaml"):
        (folder / name).unlink()
    rewrite(folder, "run.json", lambda d: d.update(dataset={"name": "bus_bra"}, model={"name": "m", "part": "all"}))
    text = text_of(write_run_report(folder))
    assert "FAILED after 0 of 8 rounds: 1 site connected, the quorum is 2." in text
    assert "Who gains? Not measured." in text and "No site took part." in text
    assert headline_table(folder) == [] and list((folder / "plots").iterdir()) == []


def test_failed_after_enrolment_keeps_what_was_charged(make_run: MakeRun) -> None:
    folder = make_run({"status": "FAILED", "reason": "lost: site_2 (no-answer)", "rounds_done": 3})
    (folder / "evaluation.json").unlink()
    for statement in (folder / "privacy").iterdir():
        statement.unlink()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(lines[:3]) + '\n{"round": 4, "va')
    rows = headline_table(folder)
    assert [row["site"] for row in rows] == ["site_1", "site_2", "site_3", "site_4"]
    assert rows[0]["epsilon"] == json.loads(lines[2])["epsilon"]["site_1"]
    assert rows[0]["auroc"] == {"value": None, "low": None, "high": None}
    assert "the run ended before the test patients were scored" in text_of(write_run_report(folder))


def test_one_class_at_a_site_is_not_defined_rather_than_wrong(make_run: MakeRun) -> None:
    from common.evaluation.scores import ScoreState
    from common.evaluation.summary import summarise

    folder = make_run()
    one_class = summarise(ScoreState.of([0.2, 0.3], [0, 0]), threshold=0.5)
    rewrite(folder, "evaluation.json", lambda d: d["models"]["federated"]["sites"].update(site_4=one_class))
    text = text_of(write_run_report(folder))
    assert "not defined" in text


def gate(verdict: str, value: float | None = None, low: float = 0.0, high: float = 0.0, **more: Any) -> dict[str, Any]:
    figures = {"difference": value, "low": low, "high": high, "p": 0.5, "patients": 60, "patients_needed": 420}
    return {"harm": verdict == "hurts", "verdict": verdict, **figures, **more}


def with_gate(make_run: MakeRun, **sites: dict[str, Any]) -> Path:
    folder = make_run()
    rewrite(folder, "evaluation.json", lambda d: d["do_no_harm"]["sites"].update(sites))
    return folder


@pytest.mark.parametrize(
    ("found", "said", "tone"),
    [
        (gate("hurts", -0.12, -0.2, -0.04), "site_2: the federated model is worse than its own model by more than "
         "0.05; it should keep its own (AUROC -0.120, -0.200 to -0.040, 60 test patients).", "warn"),
        (gate("helps", 0.1, 0.02, 0.18), "site_2: the federated model is better than its own model (AUROC +0.100", ""),
        (gate("cannot tell", -0.12, -0.3, 0.06), "site_2: cannot be told with 60 test patients; about 420 would be "
         "needed (AUROC -0.120, -0.300 to +0.060).", ""),
        (gate("no loss", 0.0, -0.03, 0.03), "site_2: the federated model is no worse than its own model by more than "
         "0.05; more is not shown (AUROC +0.000", ""),
        (gate("same scores", 0.0), "site_2: both models rank its test patients alike.", ""),
        (gate("not measured"), "site_2: not measured: no model of its own", ""),
    ],
)  # fmt: skip
def test_a_hospital_is_told_in_one_sentence_what_was_shown(
    make_run: MakeRun, found: dict[str, Any], said: str, tone: str
) -> None:
    report = write_run_report(with_gate(make_run, site_2=found))
    text = text_of(report)
    assert said in text and text.count("site_2: ") == 1
    assert text.index("COMPLETED") < text.index("Who gains?") < text.index("site_2: ")
    assert ("should keep its own" in text) == (found["verdict"] == "hurts")
    assert f'class="banner verdict {tone}' in report.read_text(encoding="utf-8")


def test_what_joining_gives_goes_before_what_the_federated_model_does_alone(make_run: MakeRun) -> None:
    """A federated model may be worse than the home model and still add to it."""
    folder = with_gate(make_run, site_2=gate("hurts", -0.12, -0.2, -0.04))
    found = {"margin": 0.05, "rates": None, "helps": ["site_2"], "hurts": [], "sites": {
        **{f"site_{n}": gate("cannot tell", 0.0, -0.1, 0.1) for n in (1, 3, 4)},
        "site_2": gate("helps", 0.04, 0.01, 0.07)}}  # fmt: skip
    gain = {"value": 0.04, "low": 0.01, "high": 0.07, "method": "DeLong"}
    pair = {"sites": dict.fromkeys(("site_1", "site_3", "site_4")) | {"site_2": gain}, "pooled": None}
    rewrite(folder, "evaluation.json", lambda d: d.update(joining=found))
    rewrite(folder, "evaluation.json", lambda d: d["comparisons"].update(personalised_minus_local=pair))
    text = text_of(write_run_report(folder))
    said = "site_2: gains: with the federated model it is better than alone (AUROC +0.040, +0.010 to +0.070, 60 test"
    assert said in text and "should keep its own" not in text
    assert "Of 4 hospitals, with the federated model against the best that each makes alone: 1 better" in text
    assert {row["site"]: row["gain"]["value"] for row in headline_table(folder)}["site_2"] == 0.04
    assert "Gain over home" in text
    table = text.partition("AUROC of the models that a site could use")[2].partition("Shown is what")[0]
    assert "worse" in table, "the other table judges the federated model by itself, whose difference it shows"


def test_a_hospital_that_keeps_its_home_model_gains_nothing_without_an_interval(make_run: MakeRun) -> None:
    folder = make_run()
    same = {"value": 0.0, "low": 0.0, "high": 0.0, "method": "same scores"}
    pair = {"sites": {f"site_{n}": same for n in range(1, 5)}, "pooled": same}
    rewrite(folder, "evaluation.json", lambda d: d["comparisons"].update(personalised_minus_local=pair))
    assert all(row["gain"] == {"value": 0.0, "low": None, "high": None} for row in headline_table(folder))
    text = text_of(write_run_report(folder))
    table = text.partition("Gain over home")[2].partition("At home: the best")[0]
    assert table.count("0 same ranking") == 5 and "+0.000" not in table


def test_a_gain_over_some_sites_names_the_others(make_run: MakeRun) -> None:
    """Else the row of all sites says 0.64, 0.89 and a gain of 0."""
    folder = make_run()
    gain = {"value": 0.04, "low": 0.01, "high": 0.07, "method": "DeLong"}
    pair = {"sites": {"site_1": gain, "site_2": gain, "site_3": None, "site_4": gain}, "pooled": gain}
    rewrite(folder, "evaluation.json", lambda d: d["models"].update(personalised=d["models"]["local"]))
    rewrite(folder, "evaluation.json", lambda d: d["comparisons"].update(personalised_minus_local=pair))
    said = "The gain over all sites leaves out site_3: too few test patients of a class."
    assert said in text_of(write_run_report(folder))
    pair["sites"]["site_3"] = gain
    rewrite(folder, "evaluation.json", lambda d: d["comparisons"].update(personalised_minus_local=pair))
    assert "leaves out" not in text_of(write_run_report(folder))


def test_a_hospital_that_says_only_that_it_hurts_is_believed_without_figures(make_run: MakeRun) -> None:
    folder = with_gate(make_run, site_2=gate("hurts", None, patients=None))
    own = {"site_2": {"level": "verdict", "verdict": "hurts"}, "site_3": {"level": "none"}}
    rewrite(folder, "evaluation.json", lambda d: d.update(own_release=own))
    text = text_of(write_run_report(folder))
    assert "it should keep its own (the hospital&#39;s own word, by itself alone)." in text
    assert "site_3: the hospital releases nothing of its own models" in text and "the hospital says: hurts" in text


def test_how_often_the_advice_errs_stands_beside_it(make_run: MakeRun) -> None:
    folder = make_run()
    found = {"loss": 0.1, "false_alarm": 0.031, "power": {"site_1": 0.42}}
    rewrite(folder, "evaluation.json", lambda d: d["do_no_harm"].update(rates=found))
    text = text_of(write_run_report(folder))
    assert "some hospital would be told to keep its own in 3.1% of such runs" in text
    assert "truly better by 0.1 would be told so in: site_1 42% of such runs" in text


def test_what_a_run_did_not_measure_is_said(make_run: MakeRun) -> None:
    folder = make_run()
    text = text_of(write_run_report(folder))
    assert (
        "no heatmap was measured" in text
        and "no such model was made" in text
        and "no model was made at home" not in text
    )
    rewrite(folder, "evaluation.json", lambda d: d["models"].pop("local"))
    rewrite(folder, "evaluation.json", lambda d: (d.pop("comparisons"), d.pop("do_no_harm")))
    text = text_of(write_run_report(folder))
    assert "no model was made at home" in text and "this run has no model of a hospital alone" in text


def test_attention_comes_from_the_explanation(make_run: MakeRun) -> None:
    folder = make_run()
    share = {"value": 0.41, "chance": 0.07}
    document = {"label": "model attention, not a lesion outline", "method": "gradcam",
                "pooled": {"all": {"patients": 97, "measures": {"iou": share, "border": None}}},
                "sanity": {"verdict": "depends on the weights"}}  # fmt: skip
    (folder / "explanation.json").write_text(json.dumps(document))
    text = text_of(write_run_report(folder))
    assert "Model attention, not a lesion outline." in text and "0.41 0.07" in text
    assert "the map depends on the weights" in text and "no heatmap" not in text


def test_every_code_has_plain_words() -> None:
    assert set(PLAIN_CODES) == set(SiteCode)


def test_what_a_site_calls_itself_cannot_become_markup(make_run: MakeRun) -> None:
    evil = "<script>alert(1)</script>$x^$"
    folder = make_run(name=evil)
    for name in ("run.json", "evaluation.json", "metrics.jsonl"):
        text = (folder / name).read_text().replace("site_1", evil)
        (folder / name).write_text(text)
    assert "script" not in outline_of(write_run_report(folder)).tags


def test_the_command_names_no_folder_of_this_machine(make_run: MakeRun) -> None:
    text = text_of(write_run_report(make_run()))
    assert "data=bus_bra data.root=PATH privacy.epsilon=8" in text and "secret place" not in text


@pytest.mark.parametrize("damage", ["missing", "damaged", "version"])
def test_refuses_a_folder_that_is_no_run(make_run: MakeRun, damage: str) -> None:
    folder = make_run()
    if damage == "missing":
        (folder / "run.json").unlink()
    elif damage == "damaged":
        (folder / "run.json").write_text("{")
    else:
        rewrite(folder, "run.json", lambda d: d.update(schema_version=99))
    with pytest.raises(ConfigError, match=r"run\.json"):
        write_run_report(folder)


def test_no_table_claims_more_than_the_advice(make_run: MakeRun) -> None:
    """An interval of one site alone may leave out 0 where all sites together show nothing."""
    folder = with_gate(make_run, **{f"site_{n}": gate("cannot tell", 0.06, 0.01, 0.11) for n in range(1, 5)})
    alone = {"value": 0.06, "low": 0.01, "high": 0.11, "superior": True, "non_inferior": True, "equivalent": False}
    rewrite(folder, "evaluation.json", lambda d: d["comparisons"]["federated_minus_local"].update(
        sites={f"site_{n}": alone for n in range(1, 5)}, pooled=None))  # fmt: skip
    text = text_of(write_run_report(folder))
    table = text.partition("AUROC of the models that a site could use")[2].partition("Shown is what")[0]
    assert table.count("cannot be told") == 4 and "better" not in table and "all sites" in table


def test_a_run_of_an_earlier_version_is_still_shown(make_run: MakeRun) -> None:
    folder = with_gate(make_run, site_2=gate("harm suspected", -0.12, -0.3, 0.06))
    rewrite(folder, "evaluation.json", lambda d: [block.pop("within_sites") for block in d["models"].values()])
    text = text_of(write_run_report(folder))
    assert "site_2: not measured" in text and "should keep its own" not in text
