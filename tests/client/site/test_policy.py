"""A policy is closed unless the site's own file opens it, and what it refuses leaves as a code."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.site.policy import SitePolicy, check_request, load_policy
from common.config.study import ModelConfig, PrivacyConfig, StrategyConfig, StudyConfig
from common.errors import BudgetExceeded, ConfigError, OncoFedError, SiteCode, TrustError

OPEN = SitePolicy(ceiling=10.0, models=("*",), studies=("*",), modes=("local",))
STUDY = StudyConfig()


def study(**privacy: Any) -> StudyConfig:
    return StudyConfig(privacy=PrivacyConfig(**privacy))


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class TestLoading:
    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        text = "ceiling: 8\nstudy_ceiling: 3.5\nmodels: ['*']\nmodes: [local]\nstrategies: [fedavg]\nstudies: [abc]\n"
        assert load_policy(written(tmp_path, text)) == SitePolicy(
            ceiling=8.0, study_ceiling=3.5, models=("*",), modes=("local",), strategies=("fedavg",), studies=("abc",)
        )

    @pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
    def test_an_empty_policy_opens_nothing(self, tmp_path: Path, text: str) -> None:
        policy = load_policy(written(tmp_path, text))
        assert policy == SitePolicy()
        with pytest.raises(OncoFedError):
            check_request(policy, STUDY, 1000)

    @pytest.mark.parametrize(
        "text",
        [
            "ceilling: 8\n",
            "ceiling: .nan\n",
            "ceiling: .inf\n",
            "ceiling: -1\n",
            "ceiling: yes\n",
            "ceiling: '8'\n",
            "ceiling: 1\nceiling: 100\n",
            "study_ceiling: .inf\n",
            "delta_max: 1\n",
            "delta_max: 0\n",
            "min_patients: 0\n",
            "min_patients: 20.5\n",
            "max_images: 0\n",
            "models: small_cnn\n",
            "modes: [everything]\n",
            "release_metrics: 1\n",
            "ceiling: 2026-01-01\n",
            "- ceiling\n",
            "ceiling\n",
            "false\n",
            "ceiling: [\n",
            "ceiling: !!python/object/apply:os.getcwd []\n",
            "ceiling: 1\n---\nceiling: 2\n",
        ],
    )
    def test_whatever_is_not_understood_is_closed(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match="the site stays closed"):
            load_policy(written(tmp_path, text))

    def test_a_missing_file_is_closed(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot be read .* stays closed"):
            load_policy(tmp_path / "policy.yaml")

    def test_a_file_that_is_no_text_is_closed(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_bytes(b"\xff\xfe\x00ceiling")
        with pytest.raises(ConfigError, match="stays closed"):
            load_policy(path)

    @pytest.mark.parametrize("ceiling", [float("nan"), float("inf"), -1.0])
    def test_a_ceiling_without_meaning_does_not_construct(self, ceiling: float) -> None:
        with pytest.raises(ValueError, match="finite ceilings"):
            SitePolicy(ceiling=ceiling)
        with pytest.raises(ValueError, match="finite ceilings"):
            SitePolicy(study_ceiling=ceiling)


class TestRequest:
    def test_an_allowed_request_passes(self) -> None:
        check_request(OPEN, STUDY, 20)

    @pytest.mark.parametrize(
        ("policy", "asked", "patients", "word"),
        [
            ({"modes": ()}, STUDY, 100, "mode"),
            ({}, study(mode="none"), 100, "mode"),
            ({"models": ()}, STUDY, 100, "model"),
            ({"models": ("resnet18",)}, STUDY, 100, "model"),
            ({"studies": ()}, STUDY, 100, "study"),
            ({"studies": ("0" * 64,)}, STUDY, 100, "study"),
            ({"strategies": ("fedprox",)}, STUDY, 100, "strategy"),
            ({}, STUDY, 19, "patients"),
            ({}, study(delta=1e-4), 100, "delta"),
            ({"delta_max": 1e-7}, STUDY, 100, "delta"),
            ({"max_images": 7}, STUDY, 100, "max_images"),
        ],
    )
    def test_each_limit_refuses(self, policy: dict[str, Any], asked: StudyConfig, patients: int, word: str) -> None:
        with pytest.raises(TrustError, match=word) as refused:
            check_request(dataclasses.replace(OPEN, **policy), asked, patients)
        assert refused.value.code == "policy-refused"
        assert refused.value.exit_code == 5

    @pytest.mark.parametrize("limits", [{"ceiling": 7.9}, {"study_ceiling": 7.9}, {"ceiling": 0.0}])
    def test_a_study_above_a_ceiling_is_a_matter_of_budget(self, limits: dict[str, float]) -> None:
        with pytest.raises(BudgetExceeded) as refused:
            check_request(dataclasses.replace(OPEN, **limits), STUDY, 100)
        assert (refused.value.code, refused.value.exit_code) == ("budget-refused", 6)

    @given(ceiling=st.floats(0, 20), study_ceiling=st.none() | st.floats(0, 20), epsilon=st.floats(0.01, 20))
    def test_a_study_passes_only_below_both_ceilings(
        self, ceiling: float, study_ceiling: float | None, epsilon: float
    ) -> None:
        policy = dataclasses.replace(OPEN, ceiling=ceiling, study_ceiling=study_ceiling)
        allowed = epsilon <= ceiling and (study_ceiling is None or epsilon <= study_ceiling)
        try:
            check_request(policy, study(epsilon=epsilon), 100)
        except BudgetExceeded:
            assert not allowed
        else:
            assert allowed

    def test_named_model_study_and_strategy_pass(self) -> None:
        asked = StudyConfig(model=ModelConfig(name="resnet18"), strategy=StrategyConfig(name="fedprox"))
        policy = dataclasses.replace(
            OPEN, models=("resnet18",), strategies=("fedprox",), studies=(asked.digest(),), min_patients=5
        )
        check_request(policy, asked, 5)

    def test_none_must_be_written(self) -> None:
        check_request(dataclasses.replace(OPEN, modes=("none",), ceiling=0.0), study(mode="none"), 100)

    def test_an_emulated_hospital_is_limited_by_its_ceiling_alone(self) -> None:
        policy = SitePolicy.emulated(2.0)
        check_request(policy, study(mode="none"), 3)
        check_request(policy, study(epsilon=2.0, max_images=1000), 3)
        with pytest.raises(BudgetExceeded):
            check_request(policy, study(epsilon=2.1), 3)


@pytest.mark.parametrize(
    ("hours", "now", "is_open"),
    [
        (("20:00", "06:00"), "23:59", True),
        (("20:00", "06:00"), "05:59", True),
        (("20:00", "06:00"), "06:00", False),
        (("20:00", "06:00"), "12:00", False),
        (("08:00", "18:00"), "08:00", True),
        (("08:00", "18:00"), "18:00", False),
        (("08:00", "18:00"), "03:00", False),
        (None, "03:00", True),
    ],
)
def test_a_site_answers_only_in_its_opening_hours(hours: tuple[str, str] | None, now: str, is_open: bool) -> None:
    policy = dataclasses.replace(SitePolicy.emulated(10.0), opening_hours=hours)
    at = datetime.fromisoformat(f"2026-11-23T{now}")
    if is_open:
        check_request(policy, StudyConfig(), 100, at)
    else:
        with pytest.raises(TrustError) as refused:
            check_request(policy, StudyConfig(), 100, at)
        assert refused.value.code == SiteCode.UNAVAILABLE


@pytest.mark.parametrize("hours", ["[20:00, 6:00]", "[20:00]", "always", '["24:00", "06:00"]'])
def test_unclear_opening_hours_keep_the_site_closed(hours: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(f"opening_hours: {hours}\n")
    with pytest.raises(ConfigError, match="closed"):
        load_policy(tmp_path / "policy.yaml")


def test_quoted_opening_hours_are_read(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, 'opening_hours: ["20:00", "06:00"]\n'))
    assert policy.opening_hours == ("20:00", "06:00")
