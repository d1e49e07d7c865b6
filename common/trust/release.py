"""A model is released by the hospitals that have scored it: m of them sign the very weights, each for itself.

A signature names study, run and weights, so it fits no other model. Whose it is follows from the keys that the hub
let in; a site counts once, and only if it took part in the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common.canonical import canonical
from common.errors import TrustError
from common.trust.signing import SiteKey, signature_holds

_DOMAIN = b"oncofed release\n"
_HEX = re.compile(r"[0-9a-f]+")
ENDORSED = ("site", "study", "run", "weights", "key", "signature")
"""Fields of an endorsement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedModel:
    """What a signature is for.

    Attributes:
        study: SHA-256 of the study, hex.
        run: Identifier of the run, hex.
        weights: SHA-256 of all its tensors, as :func:`common.models.weights.state_digest` gives it.
    """

    study: str
    run: str
    weights: str

    def __post_init__(self) -> None:
        if not all(_HEX.fullmatch(value) for value in asdict(self).values()):
            raise TrustError("Expected the study, the run and the weights of a release as lower-case hex")


def endorsement(model: ReleasedModel, site: str, key: SiteKey) -> dict[str, str]:
    """Returns the site's signed word that it has scored the model and agrees to its release."""
    body = {"site": site, **asdict(model), "key": key.public_hex}
    return body | {"signature": key.sign(_DOMAIN + canonical(body).encode())}


def endorsers(
    model: ReleasedModel, documents: Sequence[Mapping[str, Any]], keys: Mapping[str, str], needed: int
) -> dict[str, Mapping[str, Any]]:
    """Returns the endorsements that hold, one for each site, by its name and sorted; there are at least ``needed``.

    Args:
        model: What is to be released.
        documents: Endorsements as read from their files.
        keys: Ed25519 key (hex) of each site that may sign, by name.
        needed: Fewest different sites.

    Raises:
        TrustError: Too few; it says what is wrong with each that does not count.
    """
    problems = [_problem(model, document, keys) for document in documents]
    good = {
        str(document["site"]): {name: document[name] for name in ENDORSED}  # and nothing that nobody has signed
        for document, problem in zip(documents, problems, strict=True)
        if not problem
    }
    if len(good) < needed:
        wrong = "".join(f"; {problem}" for problem in problems if problem)
        raise TrustError(
            f"The release needs the signatures of {needed} different sites and has those of "
            f"{', '.join(sorted(good)) or 'none'}{wrong}. Sites sign with: oncofed-site endorse {model.run}"
        )
    return dict(sorted(good.items()))


def _problem(model: ReleasedModel, document: Mapping[str, Any], keys: Mapping[str, str]) -> str:
    """Returns why an endorsement does not count; empty when it does."""
    said = str(document.get("site"))[:40]
    if said not in keys:
        return f"{said!r} is no approved site of this run"
    body = {"site": said, **asdict(model), "key": keys[said]}
    odd = [name for name, value in body.items() if document.get(name) != value]
    if odd:
        return f"{said} signed another {odd[0]}"
    if not signature_holds(keys[said], _DOMAIN + canonical(body).encode(), str(document.get("signature"))):
        return f"the signature of {said} does not hold"
    return ""
