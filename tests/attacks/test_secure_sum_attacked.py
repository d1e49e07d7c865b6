"""Attacks on a secure sum: who can be made to sum with nobody real, to mask twice, or to add too little noise.

The helpers are those of ``tests/client/site/test_summed.py``: four hospitals with noise of the operating system.
"""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld

import client.site.hospital as hospital_module
from client.site.hospital import Site
from client.site.rehearsal import twin
from client.site.summed import Joined, announcement
from common.errors import ConfigError, OncoFedError, QuestionRefused, TrustError
from common.privacy.analytic_gaussian import epsilon_of_mu, largest_mu
from common.privacy.plan import PrivacyPlan
from common.privacy.randomness import Randomness
from common.privacy.shares import GRID, noise_share, reach
from common.protocol.messages import Request
from common.protocol.secure_sum import Announcement, RunKey, check_roster, masked, sum_digest
from common.trust.signing import SiteKey
from tests.client.site.test_summed import NAMES, RUN, STUDY, charges, enrolled, hospital, train

P = 2**255 - 19
LOW_ORDER = (
    0, 1, P - 1, P, P + 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)  # fmt: skip
"""Every point of low order, and encodings of them that are not reduced (cr.yp.to/ecdh.html#validate)."""


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Site]:
    def register() -> dict[str, str]:
        return {name: SiteKey.open(tmp_path / name / "sums" / "site.ed25519").public_hex for name in NAMES}

    return {name: hospital(tmp_path, name, register) for name in NAMES}


# --- who is in it ----------------------------------------------------------------------------------------------------


def test_a_hospital_does_not_sum_with_the_rehearsals_of_others(sites: dict[str, Site]) -> None:
    """Before: north's real sum stood beside sums of made-up patients, which anybody can compute and take off."""
    asking = Request(purpose="enrol", study=STUDY, run=RUN, rehearsal=True)
    made_up = [announcement(twin(sites[name], asking), asking) for name in ("east", "south", "west")]
    request = enrolled(sites, ("north",))
    roster = sorted([*request.roster, *filter(None, made_up)], key=lambda one: one.site)
    assert len(roster) == 4
    with pytest.raises(TrustError, match="did not sign"):
        sites["north"].train(dataclasses.replace(request, roster=tuple(roster)))
    assert charges(sites["north"]) == 0


def test_a_rehearsal_does_not_sum_with_hospitals(sites: dict[str, Site]) -> None:
    request = enrolled(sites)
    asking = Request(purpose="enrol", study=STUDY, run=RUN, rehearsal=True)
    own = announcement(twin(sites["north"], asking), asking)
    assert own is not None
    roster = tuple(own if one.site == "north" else one for one in request.roster)
    mixed = dataclasses.replace(request, roster=roster, rehearsal=True)
    with pytest.raises(TrustError, match="did not sign"):
        Joined.of(twin(sites["north"], mixed), mixed)


def _register(tmp_path: Path) -> dict[str, SiteKey]:
    return {name: SiteKey.open(tmp_path / name) for name in ("east", "north", "west")}


def test_a_key_written_in_another_way_is_the_same_key(tmp_path: Path) -> None:
    """Before: X25519 ignores the top bit, so one point had two spellings, and a reflected key passed."""
    keys, mine = _register(tmp_path), RunKey.fresh()
    twisted = bytearray(bytes.fromhex(mine.public_hex))
    twisted[31] |= 0x80
    publics = {"east": mine.public_hex, "north": twisted.hex(), "west": RunKey.fresh().public_hex}
    roster = tuple(Announcement(site=n, patients=9, key=k).signed(RUN, "s", keys[n]) for n, k in publics.items())
    register = {name: key.public_hex for name, key in keys.items()}
    with pytest.raises(TrustError):
        check_roster(roster, run=RUN, study="s", register=register, own=roster[0])


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("top", [0, 1 << 255])
def test_no_point_of_low_order_makes_a_mask(point: int, top: int) -> None:
    own, key = Announcement(site="east", patients=9, key="00" * 32), RunKey.fresh()
    other = Announcement(site="north", patients=9, key=(point | top).to_bytes(32, "little").hex())
    with pytest.raises(TrustError, match="no secret"):
        key.pair_key(own, other, RUN)


def test_two_rosters_told_at_once_open_nothing_to_a_colluder(tmp_path: Path) -> None:
    """West sides with the hub, which tells east and north of two keys of west's: their common mask stays on."""
    keys = {name: RunKey.fresh() for name in ("east", "north", "west", "other west")}
    said = {name: Announcement(site=name.split()[-1], patients=9, key=key.public_hex) for name, key in keys.items()}
    rosters = ((said["east"], said["north"], said["west"]), (said["east"], said["north"], said["other west"]))
    sums = [sum_digest(study="s", run=RUN, round_index=1, attempt=1, roster=one, weights="w") for one in rosters]
    nothing = np.zeros(1000, np.int64)
    total = masked(nothing, said["east"], rosters[0], keys["east"], RUN, sums[0])
    total = total + masked(nothing, said["north"], rosters[1], keys["north"], RUN, sums[1])
    for west, honest, place in (("west", "east", 0), ("other west", "north", 1)):
        pair = tuple(one for one in rosters[place] if one.site in ("west", honest))
        total = total + masked(nothing, said[west], pair, keys[west], RUN, sums[place])
    assert (np.abs(total.view(np.int64)) > 2.0**50).mean() > 0.99


# --- a mask hides one vector -----------------------------------------------------------------------------------------


def test_a_request_asked_many_times_at_once_has_one_answer(sites: dict[str, Site]) -> None:
    request = enrolled(sites)

    def ask(_: int) -> bytes | None:
        try:
            return train(sites["north"], request).masked.tobytes()
        except QuestionRefused:
            return None

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(ask, range(12))) - {None}
    assert len(answers) == 1 and charges(sites["north"]) == 1


class Died(Exception):
    """The process of a site ends here."""


def _dies(*arguments: Any, **more: Any) -> Any:
    raise Died


@pytest.mark.parametrize("place", ["charge_round", "answer", "keep"])
def test_a_site_that_dies_masks_no_second_vector_and_charges_all(
    sites: dict[str, Site], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, north = enrolled(sites), sites["north"]
    with monkeypatch.context() as patched:
        where: dict[str, object] = {
            "charge_round": hospital_module,
            "answer": Joined,
            "keep": hospital_module.KeptUpdate,
        }
        patched.setattr(where[place], place, _dies)
        with pytest.raises(Died):
            north.train(request)
    with pytest.raises(QuestionRefused, match="new attempt"):
        north.train(request)
    assert charges(north) == (0 if place == "charge_round" else 1)
    train(north, dataclasses.replace(request, attempt=2))


# --- the noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [20, 60, 100, 900])
def test_no_size_that_a_colluder_announces_makes_less_noise(announced: int) -> None:
    honest = (20, 100, 900)
    for size in honest:
        needed = PrivacyPlan.for_site(STUDY.privacy, STUDY.training, size).noise_multiplier * reach(STUDY, size)[1]
        found = noise_share(STUDY, [*honest, announced], size, 1)
        assert len(honest) * (found.std_steps * GRID) ** 2 >= needed**2 * (1 - 1e-9)


def test_a_size_that_would_leave_the_grid_is_refused() -> None:
    with pytest.raises(ConfigError):
        noise_share(STUDY, [20, 100, 10**9], 100, 1)


def test_a_sum_beyond_the_integers_stays_at_their_end() -> None:
    """Before: numpy turned what passes int64 into its least number, so one patient could move a value by 2^64."""
    share = noise_share(STUDY, [40, 40, 40], 40, 1)
    for sign in (1.0, -1.0):
        found = share.noisy(np.array([sign * 1e12]) / share.factor, Randomness.from_entropy().noise)
        assert np.sign(found[0]) == sign and abs(int(found[0])) > 2**60


def test_a_whole_study_costs_what_the_shares_that_were_added_cost(sites: dict[str, Site]) -> None:
    """By Google's accountant from the deviation of the noise alone, without a word of our own accounts."""
    first, north = enrolled(sites), sites["north"]
    for index in range(1, 5):
        train(north, dataclasses.replace(first, round_index=index))
    said = north.statement(Request(purpose="statement", study=STUDY, run=RUN)).document
    share = noise_share(STUDY, [40] * 4, 40, 1)
    batch, clip = 40, STUDY.privacy.clip_norm
    reach = STUDY.training.lr * 40 / batch * clip * (1 + 2**-10) + math.sqrt(2**28) * GRID
    for honest, figure in ((3, said["epsilon"]), (1, said["secure_sum"]["alone"]["epsilon"])):
        account = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
        gaussian = dp_accounting.GaussianDpEvent(math.sqrt(honest) * share.std_steps * GRID / reach)
        account.compose(dp_accounting.PoissonSampledDpEvent(1.0, gaussian), 4)
        spent = account.get_epsilon(said["delta"])
        assert spent <= figure <= 1.15 * spent  # RDP is an upper bound that is not tight


def test_a_hospital_that_restarts_goes_on_with_its_key(sites: dict[str, Site]) -> None:
    request = enrolled(sites)
    again = dataclasses.replace(sites["north"])
    first = train(sites["north"], request)
    np.testing.assert_array_equal(train(again, request).masked, first.masked)
    with pytest.raises(OncoFedError):
        again.train(dataclasses.replace(request, run="another"))


def test_the_statement_says_what_a_woman_of_two_hospitals_spends(sites: dict[str, Site]) -> None:
    """Before: that she has spent both epsilons. Half the noise costs more than two sums."""
    train(sites["north"], enrolled(sites))
    said = sites["north"].statement(Request(purpose="statement", study=STUDY, run=RUN)).document
    assert "half the noise" in said["overlap"]
    for epsilon in (1.0, 3.0, 8.0):
        mu = largest_mu(epsilon, 1e-5)
        assert epsilon_of_mu(2 * mu, 1e-5) > 2 * epsilon > epsilon_of_mu(math.sqrt(2) * mu, 1e-5)
