"""A site's side of a secure sum: it announces a key, checks whom it sums with, and masks what it sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.site.run_keys import RunKeys
from common.errors import ConfigError, TrustError
from common.privacy.exposure import OwnShare
from common.privacy.shares import LEAST_HONEST, NoiseShare, noise_share, weight_of
from common.protocol.messages import MaskedAnswer, Request
from common.protocol.secure_sum import Announcement, RunKey, check_roster, masked, summed_run
from common.protocol.signed_request import sum_of
from common.trust.signing import SiteKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from client.site.hospital import Site
    from client.site.policy import SitePolicy
    from common.data.loading import PatientTensors
    from common.models.classifier import Classifier
    from common.privacy.plan import PrivacyPlan
    from common.privacy.randomness import Randomness


def announcement(site: Site, request: Request) -> Announcement | None:
    """Returns with what key the site joins the secure sums of the run that enrols it; None: the study has none.

    Raises:
        TrustError: The site has no register of hospitals, so it could believe no roster.
    """
    if not request.study.privacy.distributed:
        return None
    if not site.register():
        raise TrustError(
            "This site has no register of the hospitals whose keys were compared, so it joins no secure sum: "
            "oncofed-site trust-roster FILE"
        )
    return _announced(site, request, RunKeys(site.home, request.run).made())


def _announced(site: Site, request: Request, key: RunKey) -> Announcement:
    """Ed25519 is deterministic, so a key is announced with the same bits whenever it is asked for."""
    plain = Announcement(site=site.name, patients=site.declared_patients, key=key.public_hex)
    return plain.signed(_run(request), request.study.digest(), SiteKey.open(site.sum_key))


def _run(request: Request) -> str:
    return summed_run(request.run, rehearsal=request.rehearsal)


def colluders_of(policy: SitePolicy, request: Request) -> int:
    """Returns how many sites may collude with the hub: what the study says, or the site's policy if that is more."""
    return max(request.study.privacy.colluders, policy.assumed_colluders)


@dataclass(frozen=True, slots=True)
class Joined:
    """A secure sum that a site takes part in, checked.

    Attributes:
        key: The site's key of the run.
        own: What it announced.
        share: The noise that it adds.
        digest: Of the sum.
    """

    key: RunKey
    own: Announcement
    share: NoiseShare
    digest: str

    @classmethod
    def of(cls, site: Site, request: Request) -> Joined | None:
        """Returns the sum that a request is for; None: the study has none.

        Raises:
            TrustError: The roster is not one that this site sums with.
            ConfigError: The request is for a sum, and the study has none.
        """
        if not request.study.privacy.distributed:
            if request.roster or request.attempt:
                raise ConfigError("The hub asks for a secure sum, and the study is not privacy.mode=distributed")
            return None
        key = RunKeys(site.home, request.run).held()
        own = _announced(site, request, key)
        _check(site, request, own)
        sizes = [one.patients for one in request.roster]
        colluders = colluders_of(site.policy, request)
        share = noise_share(request.study, sizes, own.patients, colluders, request.round_index)
        return cls(key, own, share, sum_of(request))

    def row(self, request: Request) -> OwnShare:
        """Returns what the ledger notes of the site's share."""
        share = self.share
        return OwnShare(
            noise_multiplier=share.own_multiplier, roster=share.roster, colluders=share.colluders,
            attempt=request.attempt,
        )  # fmt: skip

    def answer(
        self, site: Site, request: Request, model: Classifier, data: PatientTensors, plan: PrivacyPlan, spent: float,
    ) -> MaskedAnswer:  # fmt: skip
        """Returns the site's part, which is charged by now: trained, noised, masked."""
        randomness = site.randomness(_purpose(request), request.round_index)
        values = self._noisy(model, data, request, plan, randomness)
        return MaskedAnswer(
            site=site.name,
            round_index=request.round_index,
            attempt=request.attempt,
            weight=weight_of(request.study, site.declared_patients),
            epsilon_spent=spent,
            masked=masked(values, self.own, request.roster, self.key, _run(request), self.digest),
        )

    def _noisy(
        self, model: Classifier, data: PatientTensors, request: Request, plan: PrivacyPlan, randomness: Randomness
    ) -> NDArray[np.int64]:
        from common.training.loop import noisy_sum
        from common.training.statistics import round_sum

        if request.study.training.method == "statistics":
            total = round_sum(model, data, request.study, request.round_index)
            return self.share.noisy(total.numpy(), randomness.noise)
        return noisy_sum(model, data, request.study.training, randomness=randomness, plan=plan, share=self.share)


def _check(site: Site, request: Request, own: Announcement) -> None:
    if not request.attempt:
        raise ConfigError("Expected the number of the attempt at a secure sum, from 1")
    study, roster, least = request.study.digest(), request.roster, site.policy.min_sites
    check_roster(roster, run=_run(request), study=study, register=site.register(), own=own)
    colluders = colluders_of(site.policy, request)
    if len(roster) < least or len(roster) - colluders < LEAST_HONEST:
        raise TrustError(
            f"The site's policy refuses a secure sum of {len(roster)} sites: expected at least {least} (min_sites), "
            f"and {LEAST_HONEST} beside the {colluders} that may collude with the hub"
        )


def _purpose(request: Request) -> str:
    """Each attempt and roster has chance of its own, also where a seed makes it: the same noise would cancel."""
    return f"train attempt {request.attempt} of {' '.join(one.site for one in request.roster)}"
