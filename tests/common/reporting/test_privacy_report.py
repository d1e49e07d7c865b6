"""The page shows the statement's own figures, for the person who must decide on them."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from common.errors import TrustError
from common.privacy.ledger import Ledger
from common.privacy.plan import PrivacyPlan
from common.privacy.statement import Account, privacy_statement
from common.reporting.privacy_report import render

PLAN = PrivacyPlan(
    sampling_rate=0.1, expected_batch_patients=10.0, steps_per_round=10, rounds=3, clip_norm=1.0,
    noise_multiplier=2.5, max_images=8, delta=1e-5, target_epsilon=3.0, accountant="rdp", engine="book_keeping",
)  # fmt: skip
EMPTY = Account(rows=(), lifetime_epsilon=0.0, ceiling=5.0, public_key="ab" * 32, lifetime_rows=())


def statement(plan: PrivacyPlan | None, account: Account, **changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"site": "site_1", "study_digest": "a" * 64, "seeded": False, "synthetic": False,
                             "declared_patients": 100}  # fmt: skip
    return privacy_statement(plan=plan, account=account, **(facts | changes))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Account:
    with Ledger(tmp_path_factory.mktemp("site") / "ledger.sqlite") as ledger:
        cohort = ledger.register_cohort(["anna"])
        for index in range(1, 4):
            ledger.charge(cohort=cohort, event=PLAN.event(), delta=PLAN.delta, ceiling=5.0, accountant="rdp",
                          study="a" * 64, run="r", round_index=index)  # fmt: skip
        return Account.of(ledger, cohort, "a" * 64, PLAN, 5.0)


def words(page: str) -> str:
    body = page[page.index("<body") :]
    return " ".join(re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", body, flags=re.DOTALL).split())


def test_every_figure_is_the_statements(account: Account) -> None:
    s = statement(PLAN, account)
    shown = words(render(s))
    for figure in (
        f"spent epsilon {s['epsilon']:.2f}", f"{s['remaining']:.2f} remain", f"{s['epsilon']:.4f}",
        f"{s['lifetime_epsilon']:.4f}", s["plain_words"]["text"].replace("'", "&#39;"), s["overlap"], s["ledger_key"],
        s["ledger_head"]["digest"], "Research use only - not a medical device",
        *s["released"], *s["not_covered"],
    ):  # fmt: skip
        assert figure.replace("'", "&#39;") in shown or figure in shown


def test_the_page_is_one_file_with_the_picture_in_the_pages_ink(account: Account) -> None:
    page = render(statement(PLAN, account))
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(\s*['\"]?(?!#)", page)
    assert not re.search(r"(src|href)=['\"]https?:", page)
    assert "<svg" in page
    assert "ceiling" in page
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_what_other_studies_spent_is_in_the_picture(account: Account) -> None:
    s = statement(PLAN, account)
    assert "all studies together" not in render(s)
    assert "all studies together" in render(s | {"lifetime_epsilon": s["epsilon"] + 1})


def test_a_study_without_privacy_on_the_same_patients_is_said_first(account: Account) -> None:
    page = render(statement(PLAN, dataclasses.replace(account, lifetime_epsilon=math.inf, unbounded_runs=2)))
    assert "Over all studies it is unbounded: 2 runs without" in page
    assert 'verdict bad"' in page and "verdict good" not in page


def test_a_cohort_that_changed_during_the_study_is_said(account: Account) -> None:
    assert "The cohort changed" not in render(statement(PLAN, account))
    assert "were changed 2 times during the study" in render(
        statement(PLAN, dataclasses.replace(account, cohort_changes=2))
    )


def test_without_a_guarantee_the_first_line_says_so() -> None:
    page = render(statement(None, EMPTY))
    assert "<title>NOT PRIVATE" in page
    shown = words(page).replace("Skip to the report", "").replace("Research use only - not a medical device", "", 1)
    assert shown.strip().startswith("NOT PRIVATE")
    assert "<svg" not in page


@pytest.mark.parametrize(
    ("changes", "banner"), [({"seeded": True}, "Seeded noise"), ({"synthetic": True}, "Synthetic data")]
)
def test_a_simulation_says_what_it_is(account: Account, changes: dict[str, bool], banner: str) -> None:
    assert banner in words(render(statement(PLAN, account, **changes)))
    assert banner not in words(render(statement(PLAN, account)))


def test_a_ledger_without_charges_has_a_page() -> None:
    assert "Nothing has been charged yet" in render(statement(PLAN, EMPTY))


def test_words_of_a_site_are_no_markup(account: Account) -> None:
    s = statement(PLAN, account, site="</title><script>alert(1)</script>")
    s["released"] = ["<img src=x onerror=alert(1)>"]
    page = render(s)
    assert "<script" not in page
    assert "<img" not in page


@pytest.mark.parametrize("field", ["epsilon", "sampling", "by_round", "events", "released", "ledger_head", "private"])
def test_a_statement_that_lacks_a_field_is_named(account: Account, field: str) -> None:
    s = statement(PLAN, account)
    del s[field]
    with pytest.raises(TrustError, match="site_1 cannot be shown"):
        render(s)


def test_a_statement_of_another_kind_is_named(account: Account) -> None:
    for wrong in ({"epsilon": "low"}, {"by_round": "none"}, {"sampling": 3}, {"ceiling": None}):
        with pytest.raises(TrustError, match="cannot be shown"):
            render(statement(PLAN, account) | wrong)


@pytest.mark.parametrize(
    ("epsilon", "tone", "said"), [(0.9, "good", "strong"), (2.5, "note", "moderate"), (8.0, "warn", "weak")]
)
def test_the_colour_follows_the_strength_and_no_ceiling_makes_it_green(
    account: Account, epsilon: float, tone: str, said: str
) -> None:
    page = render(
        statement(PLAN, account) | {"lifetime_epsilon": epsilon, "ceiling": 10.0, "remaining": 10.0 - epsilon}
    )
    assert f'class="banner verdict {tone}"' in page and f"As a guarantee this is {said}." in page


def test_above_the_ceiling_is_red_however_strong(account: Account) -> None:
    page = render(statement(PLAN, account) | {"lifetime_epsilon": 0.9, "ceiling": 0.5, "remaining": 0.0})
    assert 'class="banner verdict bad"' in page and "above the site" in page
