"""What may have been spent at a site since a backup of its ledger was made: asked of policy, notes and statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.forecast import read_study
from client.site.noised_scores import most_evaluations
from client.site.policy import ANY
from client.site.studies import noted_studies
from common.errors import DataError, TrustError
from common.privacy.backup import Backup, Since, events_of
from common.privacy.exposure import UNBOUNDED
from common.privacy.fingerprints import fingerprints
from common.privacy.plan import PrivacyPlan
from common.privacy.pricing import Promise, most_charges, promises_in
from common.privacy.signature import check_signature
from common.trust.journal import Head
from common.trust.signing import SiteKey

if TYPE_CHECKING:
    from client.site.hospital import Site
    from common.config.study import StudyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the privacy officer could find.

    Attributes:
        statements: Statements of this site, newer than the backup.
        heads: The hub's file of heads; None: none.
        studies: Studies that may have run since, as YAML files.
        assume_unbounded: Whether to give up the account of these patients, since a study cannot be named.
    """

    statements: Sequence[Path] = ()
    heads: Path | None = None
    studies: Sequence[Path] = ()
    assume_unbounded: bool = False


def since(site: Site, backup: Backup, evidence: Evidence) -> Since:
    """Returns all that may have been spent since the backup, as far as today's policy, notes and evidence tell.

    Today's policy does not tell of a study that it no longer allows; later heads do, and ``restore`` weighs them.

    Raises:
        DataError: The policy allows a study that nobody has named, so what it spent cannot be charged.
        TrustError: A statement is not this site's.
    """
    key = SiteKey.from_pem(backup.key_pem)
    statements = [_statement(path, key.public_hex) for path in evidence.statements]
    studies = [*(noted.study for noted in noted_studies(site.home).values()), *map(read_study, evidence.studies)]
    unknown = _unnamed(site, backup, {study.digest() for study in studies})
    if unknown and not evidence.assume_unbounded:
        raise DataError(
            f"The policy allows {_in_words(unknown)}: what it spent since the backup cannot be charged. Name each "
            "study that may have run with --study FILE and allow these only (`studies` in policy.yaml), or give the "
            "account of these patients up for good with --assume-unbounded"
        )
    open_ = any(not study.privacy.private for study in studies) or any(_is_unbounded(one) for one in statements)
    apart = [name for name, (split, _) in site.cohort.members.items() if split in ("val", "test")]
    return Since(
        studies=[_at_its_end(study, site.declared_patients) for study in studies if study.privacy.private],
        heads=[*(_head(one["ledger_head"]) for one in statements), *_hub_heads(evidence.heads, key.public_hex)],
        lifetime=[event for one in statements for event in events_of(one)],
        unbounded=open_ or evidence.assume_unbounded,
        plain={study.digest() for study in studies if not study.privacy.private} | unknown - {ANY},
        patients=fingerprints(key, site.cohort.train_patients),
        scored=fingerprints(key, apart) if apart else (),
    )


def _unnamed(site: Site, backup: Backup, named: set[str]) -> set[str]:
    """Returns the studies that the policy allows and neither the backup nor anybody can name; ``*`` among them: any."""
    rows = [json.loads(entry.text) for entry in backup.entries]
    held = {promise.study for promise in promises_in(rows)}
    return set(site.policy.studies) - named - held


def _in_words(studies: set[str]) -> str:
    return "any study" if ANY in studies else f"the studies {', '.join(sorted(studies))}"


def _at_its_end(study: StudyConfig, declared_patients: int) -> Promise:
    plan = PrivacyPlan.for_site(study.privacy, study.training, declared_patients)
    charges, evaluations = most_charges(plan.rounds), most_evaluations(study)
    return Promise("", study.digest(), plan.event(), charges, plan.delta, plan.accountant, evaluations)


def _statement(path: Path, public_hex: str) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a privacy statement ({error})") from None
    if not isinstance(document, dict):
        raise DataError(f"{path} is no privacy statement: expected a JSON object")
    check_signature(document, public_hex)
    return document


def _is_unbounded(statement: Mapping[str, Any]) -> bool:
    return statement.get("lifetime_epsilon") == UNBOUNDED or statement.get("private") is not True


def _hub_heads(path: Path | None, public_hex: str) -> list[Head]:
    if path is None:
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["sites"].values()
        found = [_head(row) for row in rows if row["key"] == public_hex]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} cannot be read as heads; ask the hub for: oncofed-hub heads --out FILE") from None
    if not found:
        raise TrustError(f"{path} names no ledger of this site's key")
    return found


def _head(row: Mapping[str, Any]) -> Head:
    return Head(int(row["seq"]), str(row["digest"]))
