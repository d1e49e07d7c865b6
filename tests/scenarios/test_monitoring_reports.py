"""Quarters of a model in use, from two sites to the hub and to the study that a drift suggests, as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.site.site_file import SiteHome
from common.config.overrides import read_overrides
from common.config.study import compose
from common.errors import BudgetExceeded, ConfigError, DataError, TooFewPatients, TrustError
from common.models.weights import save_model, state_digest
from common.models.zoo import build_model
from common.monitoring.hub_report import read_report
from common.privacy.ledger import Ledger
from common.privacy.monitoring_account import accounts
from server.hub.home import HubHome
from simulations.analysis.drift.exams import BEFORE, CHANGES
from tests.monitored import PACKAGE, Pair, a_run, in_quarter, keep, make_hub, make_pair, told

SWEEP = "c" * 64
STUDY = ("name='breast, all'", "seed=7", "training.rounds=6", "privacy.epsilon=3", f"tuned.sweep='{SWEEP}'",
         "tuned.data=busi", "tuned.trials=30")  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    return make_hub(tmp_path / "hub")


@pytest.fixture
def north(hub: HubHome, tmp_path: Path) -> Pair:
    return make_pair(hub, "north", tmp_path / "north")


def test_a_drift_of_one_site_is_seen_and_becomes_a_study_that_nobody_started(
    hub: HubHome, north: Pair, tmp_path: Path
) -> None:
    south = make_pair(hub, "south", tmp_path / "south")
    for number, pair in enumerate((north, south)):
        pair.seeded(number)
        for index, quarter in enumerate(("2026Q1", "2026Q2", "2026Q3")):
            moved = pair is south and quarter == "2026Q3"
            department = CHANGES["prevalence"] if moved else BEFORE
            keep(pair.site, in_quarter(500, quarter, 10 * number + index, department))
    files = [str(pair.report(quarter)) for pair in (north, south) for quarter in ("2026Q1", "2026Q2")]
    told(north.at_hub("monitor", "add", *files))
    run = a_run(tmp_path / "run", *STUDY)
    refused = north.at_hub("propose-update", str(run), "--out", str(tmp_path / "no.yaml"))
    assert refused.exit_code == ConfigError.exit_code and "--anyway" in refused.output
    assert not (tmp_path / "no.yaml").exists()
    told(north.at_hub("monitor", "add", str(north.report("2026Q3")), str(south.report("2026Q3"))))
    page = tmp_path / "page.html"
    seen = json.loads(told(north.at_hub("monitor", "show", "--json", "--page", str(page))))["data"]
    assert seen["drifting"] == ["south"] and "0.01" in seen["promise"]
    assert [row["drifts"] for row in seen["quarters"]] == [False] * 5 + [True]
    assert "Drifting: south" in page.read_text() and "http" not in page.read_text().replace("http-equiv", "")
    assert "DRIFTS" in told(north.at_hub("monitor", "show"))
    out = tmp_path / "next.yaml"
    told(north.at_hub("propose-update", str(run), "--out", str(out)))
    old, new = compose(list(STUDY)), compose(read_overrides(out))
    assert new.tuned.sweep == SWEEP and new.tuned.trials == 30
    assert (new.name, new.seed, new.training, new.privacy, new.tuned) == (
        "breast, all-after-2026Q3", 8, old.training, old.privacy, old.tuned,
    )  # fmt: skip
    comment = " ".join(line.lstrip("# ") for line in out.read_text().splitlines() if line.startswith("#"))
    assert "south, 2026Q3" in comment and "north" not in comment and "begins anew" in comment
    again = north.at_hub("propose-update", str(run), "--out", str(out))
    assert again.exit_code == ConfigError.exit_code and "is there already" in again.output
    assert not list(hub.runs.iterdir())


def test_a_study_that_is_wanted_anyway_says_why(north: Pair, tmp_path: Path) -> None:
    run, out = a_run(tmp_path / "run", *STUDY), tmp_path / "next.yaml"
    told(north.at_hub("propose-update", str(run), "--out", str(out), "--anyway", "a new\n- name=evil\nscanner"))
    assert "Wanted anyway: a new - name=evil scanner" in out.read_text()
    assert compose(read_overrides(out)).name == "breast, all-after-anyway"


@pytest.mark.parametrize(
    ("changes", "starts"), [((), "starts from the released model"), (("model=lite0",), "published weights"),
                            (("privacy=none",), "without bound")],
)  # fmt: skip
def test_it_goes_on_from_the_released_model_where_it_can(tmp_path: Path, changes: tuple[str, ...], starts: str) -> None:
    overrides = ("name=first", "training.rounds=9", "model=small_cnn", "privacy.epsilon=3", *changes)
    model = build_model(compose(["model=small_cnn"]).model, (1, 32, 32), 5)
    hub = make_hub(tmp_path / "hub", state_digest(model.state_dict()))
    run, out = a_run(tmp_path / "run", *overrides), tmp_path / "next.yaml"
    (run / "model").mkdir()
    save_model(model, run / "model" / "model.safetensors", {})
    told(Pair(hub, SiteHome(tmp_path)).at_hub("propose-update", str(run), "--out", str(out), "--anyway", "to try"))
    new = compose(read_overrides(out))
    comment = " ".join(line.lstrip("# ") for line in out.read_text().splitlines() if line.startswith("#"))
    assert starts in comment
    if changes:
        assert (new.training.rounds, new.model.checkpoint) == (9, "")
        return
    assert new.training.rounds == 4 and new.travelling()["model"]["weights"] == "checkpoint"
    assert state_digest(build_model(new.model, (1, 32, 32), new.seed).state_dict()) == state_digest(model.state_dict())


def test_a_model_that_is_not_the_released_one_is_no_start(tmp_path: Path) -> None:
    hub, run, out = make_hub(tmp_path / "hub", "0" * 64), a_run(tmp_path / "run", *STUDY), tmp_path / "next.yaml"
    (run / "model").mkdir()
    save_model(build_model(compose(list(STUDY)).model, (1, 32, 32), 5), run / "model" / "model.safetensors", {})
    told(Pair(hub, SiteHome(tmp_path)).at_hub("propose-update", str(run), "--out", str(out), "--anyway", "to try"))
    assert "is not what was released" in out.read_text().replace("\n# ", " ")
    assert compose(read_overrides(out)).model.weights is None


def test_the_same_quarter_is_the_same_file_and_costs_once(north: Pair) -> None:
    keep(north.site, in_quarter(100, "2026Q1", 1, BEFORE))
    first = north.report("2026Q1").read_text()
    keep(north.site, in_quarter(50, "2026Q1", 2, BEFORE))
    assert north.report("2026Q1", name="again").read_text() == first
    account = json.loads(told(north.at_site("ledger", "show", "--json")))["data"]["monitoring"]
    assert [(row["year"], row["reports"]) for row in account] == [(2026, 1)]
    assert 0 < account[0]["epsilon"] <= 8
    assert "1 reports to the hub" in north.at_site("ledger", "show").output


def test_a_report_whose_file_is_gone_is_not_drawn_again(north: Pair, tmp_path: Path) -> None:
    keep(north.site, in_quarter(100, "2026Q1", 1, BEFORE))
    north.report("2026Q1")
    (north.site.path / "monitor" / "reports" / f"2026Q1-{PACKAGE}.json").unlink()
    refused = north.at_site("monitor", "report", "--quarter", "2026Q1", "--out", str(tmp_path / "again.json"))
    assert refused.exit_code == BudgetExceeded.exit_code and "not drawn twice" in refused.output
    assert not (tmp_path / "again.json").exists()


@pytest.mark.parametrize(
    ("policy", "count", "quarter", "error", "word"),
    [
        ({"monitoring_ceiling": 0.0}, 100, "2026Q1", BudgetExceeded, "monitoring_ceiling"),
        ({}, 9, "2026Q1", TooFewPatients, "min_split"),
        ({}, 100, "2090Q1", DataError, "not over"),
        ({}, 100, "2026Q5", DataError, "2026Q4"),
        ({}, 100, "2025Q1", ConfigError, "none"),
        ({"hubs": []}, 100, "2026Q1", TrustError, "hub"),
    ],
)
def test_what_may_not_be_told_is_refused_in_words_and_charged_nothing(
    north: Pair, tmp_path: Path, policy: dict[str, object], count: int, quarter: str, error: type[Exception], word: str
) -> None:
    north.policy(**policy)
    keep(north.site, in_quarter(count, "2026Q1", 1, BEFORE))
    out = tmp_path / "out.json"
    refused = north.at_site("monitor", "report", "--quarter", quarter, "--out", str(out))
    assert refused.exit_code == error.exit_code, refused.output  # type: ignore[attr-defined]
    assert word in refused.output and not out.exists()
    with Ledger(north.site.path / "ledger.sqlite") as ledger:
        assert accounts(ledger.rows()) == []


def test_the_hub_takes_one_report_a_quarter_from_the_site_itself(north: Pair, tmp_path: Path) -> None:
    keep(north.site, in_quarter(100, "2026Q1", 1, BEFORE))
    path = north.report("2026Q1")
    assert "kept" in north.at_hub("monitor", "add", str(path)).output
    assert "known already" in north.at_hub("monitor", "add", str(path)).output
    report, key = read_report(path), north.site.signing_key
    from common.trust.signing import SiteKey

    def sent(signer: SiteKey | None = None, **changes: object) -> str:
        import dataclasses

        other = dataclasses.replace(report, **changes)  # type: ignore[arg-type]
        (tmp_path / "sent.json").write_text((other.signed(signer.sign) if signer else other).text())
        result = north.at_hub("monitor", "add", str(tmp_path / "sent.json"))
        assert result.exit_code in (TrustError.exit_code, DataError.exit_code), result.output
        return result.output

    own = SiteKey.read(key)
    assert "signature" in sent(above=report.above + 1)
    assert "signature" in sent(SiteKey.open(tmp_path / "other.key"))
    assert "told once" in sent(own, above=report.above + 1)
    assert "no package" in sent(own, package="b" * 64)
    assert "no approved site" in sent(own, site="south")
    assert "not over" in sent(own, quarter="2090Q1")
    assert "no noise" in sent(own, quarter="2026Q2", above=-(10**6))
    assert "apart" in sent(own, quarter="2026Q2", above=10**6)
    told(north.at_hub("revoke", "north"))
    assert "no approved site" in sent(own, quarter="2026Q2")
