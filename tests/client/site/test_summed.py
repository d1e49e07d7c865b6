"""A hospital in a secure sum: whom it sums with, what it pays for, and what a lying hub gets out of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.site.accounts import site_statement
from client.site.forecast import forecast
from client.site.hospital import Cohort, Site
from client.site.kept import KEPT
from client.site.policy import SitePolicy
from client.site.rehearsal import twin
from client.site.run_keys import RunKeys
from common.config.study import DataConfig, ModelConfig, PrivacyConfig, StudyConfig, TrainingConfig
from common.data.loading import PatientTensors
from common.errors import BudgetExceeded, ConfigError, OncoFedError, QuestionRefused, TrustError
from common.models.parts import select_part
from common.models.weights import trainable_state
from common.models.zoo import build_model
from common.privacy.accounting import Event, epsilon_of
from common.privacy.ledger import Ledger
from common.privacy.randomness import Randomness
from common.privacy.shares import GRID
from common.privacy.verification import verify_statement
from common.protocol.messages import MaskedAnswer, Request, pack_answer, unpack_answer
from common.protocol.secure_sum import Announcement, RunKey, unmasked_sum
from common.trust.signing import SiteKey

STUDY = StudyConfig(
    name="summed",
    data=DataConfig(image_size=0),
    model=ModelConfig(name="mlp", width=8),
    training=TrainingConfig(rounds=4, local_steps=1, batch_patients=40, lr=1.0),
    privacy=PrivacyConfig(mode="distributed", epsilon=8.0, accountant="rdp"),
)
LOCAL = dataclasses.replace(STUDY, privacy=dataclasses.replace(STUDY.privacy, mode="local"))
NAMES = ("east", "north", "south", "west")
RUN = "ab"


def hospital(folder: Path, name: str, register: Callable[[], Mapping[str, str]]) -> Site:
    """A site with noise from the operating system: two trainings never agree."""
    generator = torch.Generator().manual_seed(0)
    patients = tuple(f"{name}{index}" for index in range(40))
    labels = torch.randint(0, 2, (40,), generator=generator).float()
    data = PatientTensors(torch.rand((40, 6), generator=generator), labels, torch.arange(40), patients)
    (folder / name).mkdir()
    return Site(
        name=name,
        declared_patients=40,
        cohort=Cohort(train_patients=patients, counts={}, load=lambda study, split: data),
        policy=SitePolicy.emulated(100.0),
        randomness=lambda purpose, round_index: Randomness.from_entropy(),
        home=folder / name,
        ledger_path=folder / name / "ledger.sqlite",
        register=register,
    )


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Site]:
    def register() -> dict[str, str]:
        return {name: SiteKey.open(tmp_path / name / "sums" / "site.ed25519").public_hex for name in NAMES}

    return {name: hospital(tmp_path, name, register) for name in NAMES}


@pytest.fixture
def north(sites: dict[str, Site]) -> Site:
    return sites["north"]


def weights() -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    model = build_model(STUDY.model, (6,), STUDY.seed)
    select_part(model, STUDY.model.part)
    return trainable_state(model)


def enrolled(sites: dict[str, Site], names: tuple[str, ...] = NAMES, study: StudyConfig = STUDY) -> Request:
    """Returns the request for attempt 1 at round 1 with these sites, which have enrolled."""
    asking = Request(purpose="enrol", study=study, run=RUN)
    cards = [sites[name].enrol(asking) for name in names]
    roster = tuple(card.announcement for card in cards if card.announcement)
    assert len(roster) == len(names)
    return Request(purpose="train", study=study, run=RUN, round_index=1, arrays=weights(), roster=roster, attempt=1)


def train(site: Site, request: Request) -> MaskedAnswer:
    answer = site.train(request)
    assert isinstance(answer, MaskedAnswer)
    return answer


def smaller(request: Request, without: str, attempt: int = 2) -> Request:
    left = tuple(one for one in request.roster if one.site != without)
    return dataclasses.replace(request, roster=left, attempt=attempt)


def charges(site: Site) -> int:
    with Ledger(site.ledger_path) as ledger:
        return len(ledger.charges())


def test_the_sum_is_a_step_with_shared_noise_and_no_part_of_it_is(sites: dict[str, Site]) -> None:
    request = enrolled(sites)
    parts = {name: train(site, request) for name, site in sites.items()}
    total = unmasked_sum([part.masked for part in parts.values()]) * GRID
    noise = 1.2 * np.sqrt(4 / 3)  # what epsilon 8 in four rounds needs, in the order of magnitude
    assert total.std() < 10 * noise
    for part in parts.values():
        assert (np.abs(part.masked.view(np.int64) * GRID) > 1e4).mean() > 0.99


def test_an_answer_travels_as_it_is(sites: dict[str, Site]) -> None:
    answer = train(sites["north"], enrolled(sites))
    came = unpack_answer(pack_answer(answer))
    assert isinstance(came, MaskedAnswer)
    np.testing.assert_array_equal(came.masked, answer.masked)
    assert dataclasses.replace(came, masked=answer.masked) == answer


def test_the_identical_request_is_answered_by_the_same_bits_at_no_new_charge(
    sites: dict[str, Site], north: Site
) -> None:
    request = enrolled(sites)
    first, again = train(north, request), train(north, request)
    np.testing.assert_array_equal(first.masked, again.masked)
    assert charges(north) == 1 and first.epsilon_spent == again.epsilon_spent


def test_two_rosters_in_one_round_are_paid_twice_and_have_other_noise(sites: dict[str, Site]) -> None:
    """The attack that decides the design: one vector under two rosters would show one hospital's with its share only.

    The difference of the two sums is what east adds, plus what fresh noise all the others drew.
    """
    request = enrolled(sites)
    others = smaller(request, "east")
    names = ("north", "south", "west")
    first = unmasked_sum([train(site, request).masked for site in sites.values()])
    second = unmasked_sum([train(sites[name], others).masked for name in names])
    assert [charges(sites[name]) for name in names] == [2, 2, 2] and charges(sites["east"]) == 1
    with Ledger(sites["north"].ledger_path) as ledger:
        rows = ledger.charges()
    assert [(row.share.attempt, row.share.roster) for row in rows if row.share] == [(1, 4), (2, 3)]
    factor = 40.0 / 40.0  # learning rate times weight over batch
    own = rows[0].share.noise_multiplier if rows[0].share else 0.0
    shown = (first - second) * GRID / factor
    assert shown.std() > 2 * own, "more noise than east's own share"


def test_another_attempt_with_the_same_roster_is_paid_again(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    first = train(north, request)
    second = train(north, dataclasses.replace(request, attempt=2))
    assert charges(north) == 2
    assert (first.masked != second.masked).all()


def test_chance_made_by_a_seed_is_another_for_another_roster(sites: dict[str, Site]) -> None:
    asked: list[str] = []

    def seeded(purpose: str, round_index: int) -> Randomness:
        asked.append(purpose)
        return Randomness.from_seed(0, "north", purpose, round_index)

    request = enrolled(sites)
    north = dataclasses.replace(sites["north"], randomness=seeded)
    train(north, request)
    train(north, smaller(request, "east"))
    train(north, dataclasses.replace(request, attempt=3))
    purposes = [purpose for purpose in asked if purpose.startswith("train")]
    assert len(set(purposes)) == len(purposes) == 3


def test_a_mask_is_used_once_even_if_the_kept_update_is_gone(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    train(north, request)
    (north.home / KEPT).unlink()
    with pytest.raises(QuestionRefused, match="new attempt"):
        north.train(request)
    assert charges(north) == 1
    train(north, dataclasses.replace(request, attempt=2))


def test_an_update_that_another_attempt_replaced_is_not_sent_again(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    train(north, request)
    train(north, smaller(request, "east"))
    with pytest.raises(QuestionRefused, match="new attempt"):
        north.train(request)


def test_a_budget_that_is_used_up_ends_the_attempts(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    poor = dataclasses.replace(north, policy=dataclasses.replace(north.policy, ceiling=8.0))
    for attempt in range(1, 5):
        train(poor, dataclasses.replace(request, attempt=attempt))
    with pytest.raises(BudgetExceeded):
        poor.train(dataclasses.replace(request, attempt=5))


def test_the_key_goes_with_the_last_question_of_the_run(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    train(north, request)
    (kept,) = (north.home / "sums").glob("*.json")
    assert kept.stat().st_mode & 0o077 == 0
    north.statement(dataclasses.replace(request, purpose="statement", roster=(), attempt=0))
    assert not list((north.home / "sums").glob("*.json"))
    with pytest.raises(TrustError, match="no key of that run"):
        north.train(dataclasses.replace(request, attempt=2))


def test_a_run_that_enrols_again_keeps_its_key(sites: dict[str, Site]) -> None:
    assert enrolled(sites).roster == enrolled(sites).roster


def test_a_damaged_key_stops_the_sums(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    (path,) = (north.home / "sums").glob("*.json")
    path.write_text("{")
    with pytest.raises(TrustError, match="damaged"):
        north.train(request)


# --- rosters that a hub may send --------------------------------------------------------------------------------------


def _sybil(request: Request) -> Request:
    """The hub wants to see north: it makes all the others itself."""
    made = [Announcement(site=name, patients=40, key=RunKey.fresh().public_hex) for name in ("aa", "zz")]
    return dataclasses.replace(request, roster=(made[0], request.roster[1], made[1]))


FORGED: dict[str, Callable[[Request], Request]] = {
    "sites that the hub invents": _sybil,
    "without this site": lambda r: dataclasses.replace(r, roster=tuple(o for o in r.roster if o.site != "north")),
    "empty": lambda r: dataclasses.replace(r, roster=()),
    "unsorted": lambda r: dataclasses.replace(r, roster=r.roster[::-1]),
    "announced for another run": lambda r: dataclasses.replace(r, run="cd"),
    "no attempt": lambda r: dataclasses.replace(r, attempt=0),
    "two sites only": lambda r: dataclasses.replace(r, roster=r.roster[:2]),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=list(FORGED))
def test_a_roster_that_is_not_right_costs_nothing_and_gets_nothing(
    forge: Callable[[Request], Request], sites: dict[str, Site], north: Site
) -> None:
    request = forge(enrolled(sites))
    with pytest.raises(OncoFedError) as caught:
        north.train(request)
    assert isinstance(caught.value, TrustError | ConfigError)
    assert charges(north) == 0


@pytest.mark.parametrize(
    ("limits", "passes"),
    [({"min_sites": 4}, True), ({"min_sites": 5}, False), ({"assumed_colluders": 2}, True),
     ({"assumed_colluders": 3}, False)],
)  # fmt: skip
def test_a_site_has_limits_of_its_own(
    limits: dict[str, int], passes: bool, sites: dict[str, Site], north: Site
) -> None:
    request = enrolled(sites)
    careful = dataclasses.replace(north, policy=dataclasses.replace(north.policy, **limits))  # type: ignore[arg-type]
    if passes:
        train(careful, request)
        return
    with pytest.raises(TrustError, match="policy refuses a secure sum of 4 sites"):
        careful.train(request)


def test_a_site_that_assumes_more_colluders_adds_more_noise(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    policy = dataclasses.replace(north.policy, assumed_colluders=2)
    train(dataclasses.replace(north, policy=policy), request)
    train(sites["south"], request)
    rows = {}
    for name in ("north", "south"):
        with Ledger(sites[name].ledger_path) as ledger:
            (rows[name],) = ledger.charges()
    assert rows["north"].share and rows["south"].share
    ratio = rows["north"].share.noise_multiplier / rows["south"].share.noise_multiplier
    assert ratio == pytest.approx(np.sqrt(2), rel=1e-6)


def test_a_site_without_a_register_joins_no_sum(north: Site) -> None:
    with pytest.raises(TrustError, match="trust-roster"):
        dataclasses.replace(north, register=dict).enrol(Request(purpose="enrol", study=STUDY, run=RUN))


def test_a_policy_that_does_not_name_the_mode_refuses_it(north: Site) -> None:
    closed = dataclasses.replace(north, policy=dataclasses.replace(north.policy, modes=("local",)))
    with pytest.raises(TrustError, match=r"privacy\.mode=distributed is not allowed"):
        closed.enrol(Request(purpose="enrol", study=STUDY, run=RUN))


def test_a_study_with_local_noise_answers_no_roster(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    with pytest.raises(ConfigError, match="secure sum"):
        north.train(dataclasses.replace(request, study=LOCAL))


# --- what the ledger and the statement say ----------------------------------------------------------------------------


def test_the_statement_says_both_epsilons_and_both_can_be_recomputed(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    train(north, request)
    train(north, smaller(request, "east"))
    said = site_statement(north, request)
    events = [Event(**{name: row[name] for name in ("noise_multiplier", "sampling_rate", "steps")})
              for row in said["events"]]  # fmt: skip
    own = [dataclasses.replace(event, noise_multiplier=row["share"]["noise_multiplier"])
           for event, row in zip(events, said["events"], strict=True)]  # fmt: skip
    summed = said["secure_sum"]
    assert said["epsilon"] == epsilon_of(events, said["delta"], "rdp")
    assert summed["alone"]["epsilon"] == epsilon_of(own, said["delta"], "rdp") > said["epsilon"]
    assert (summed["sites"], summed["honest"], summed["colluders"], summed["void_attempts"]) == (3, 2, 1, 1)
    verify_statement(said)
    json.dumps(said)


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a smaller epsilon alone": lambda s: s["secure_sum"]["alone"].update(epsilon=1.0),
    "a larger share": lambda s: s["events"][0]["share"].update(noise_multiplier=9.0),
    "fewer colluders": lambda s: s["events"][0]["share"].update(colluders=0),
    "no share": lambda s: s["events"][0].pop("share"),
    "a share too small for its sum": lambda s: s["events"][0]["share"].update(noise_multiplier=0.1),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_a_statement_that_lies_about_a_sum_is_found_out(
    lie: Callable[[dict[str, object]], object], sites: dict[str, Site], north: Site
) -> None:
    request = enrolled(sites)
    train(north, request)
    said = site_statement(north, request) | {"ledger_rows": None}  # so that the figures alone must tell
    lie(said)
    with pytest.raises(TrustError):
        verify_statement(said)


def test_a_share_in_a_statement_is_the_one_in_the_ledger(sites: dict[str, Site], north: Site) -> None:
    request = enrolled(sites)
    train(north, request)
    said = site_statement(north, request)
    said["events"][0]["share"]["roster"] = 30
    with pytest.raises(TrustError, match="not those that its ledger charged"):
        verify_statement(said)


def test_keys_of_two_runs_differ(north: Site) -> None:
    assert RunKeys(north.home, "a").made().public_hex != RunKeys(north.home, "b").made().public_hex


def test_a_forecast_tells_both_figures() -> None:
    found = forecast(STUDY, 40, 10.0)
    alone = {row["sites"]: row["epsilon_if_all_others_collude"] for row in found["shared_noise"]}
    assert found["epsilon_at_end"] < alone[3] < alone[10] < alone[30]
    assert "with all other sites" in found["text"] and f"{alone[10]:.1f} among 10" in found["text"]
    assert forecast(LOCAL, 40, 10.0)["shared_noise"] is None


def test_a_rehearsal_is_summed_with_no_hospital_s_patients(sites: dict[str, Site], north: Site) -> None:
    """Before: a hub summed north's true update with parts of rehearsals of the same run, which hold nobody's."""
    study = dataclasses.replace(STUDY, data=DataConfig(name="wdbc", image_size=0))
    request = enrolled(sites, study=study)
    rehearsed = {name: twin(sites[name], enrolling(study, rehearsal=True)) for name in ("east", "south")}
    played = {name: site.enrol(enrolling(study, rehearsal=True)).announcement for name, site in rehearsed.items()}
    roster = tuple(played.get(one.site) or one for one in request.roster if one.site != "west")
    mixed = dataclasses.replace(request, roster=roster)
    with pytest.raises(TrustError, match="did not sign"):
        north.train(mixed)
    with pytest.raises(TrustError, match="did not sign"):
        rehearsed["east"].train(dataclasses.replace(mixed, rehearsal=True))
    assert charges(north) == 0


def enrolling(study: StudyConfig, *, rehearsal: bool = False) -> Request:
    return Request(purpose="enrol", study=study, run=RUN, rehearsal=rehearsal)
