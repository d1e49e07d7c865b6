"""``oncofed-site join``: checks a kit, makes the site's keys here, and writes the request that goes back."""

from __future__ import annotations

import json
import re
import secrets
import time
from pathlib import Path

from client.site.proof import pin_hub
from client.site.site_file import SiteHome
from common.errors import ConfigError, TrustError
from common.trust.client_certificate import create_client_certificate
from common.trust.kit import JoinRequest, Kit, read_kit, signed_request, write_request
from common.trust.pki import certificate_facts, create_node_key, write_private
from common.trust.signing import SiteKey

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,39}")


def join(
    home: SiteHome, kit_path: Path, *, new_keys: bool = False, declared_patients: int = 0, another_hub: bool = False
) -> JoinRequest:
    """Returns the request, which also lies in ``request.json``; an existing ``site.yaml`` or policy is kept.

    Keys are kept too, unless ``new_keys``; the old ones are then put aside. The hub's key is pinned.

    Args:
        home: The site's folder.
        kit_path: The zip that the hub sent.
        new_keys: Whether to make new keys.
        declared_patients: Public size of the training cohort, for the hub's register; 0: told by telephone.
        another_hub: Whether the kit may be of another hub than the one that this home knows.

    Raises:
        ConfigError: This home belongs to another site, or cannot be written.
        TrustError: The kit is damaged or was changed, or comes from another hub.
    """
    kit = read_kit(kit_path)
    declared_patients = _declared(home, kit, declared_patients)
    if not another_hub:
        _check_hub(home, kit)
    try:
        for folder in (home.path, home.node_key.parent, home.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{home.path} cannot be written ({error.strerror}); choose another with --home") from None
    if new_keys:
        _put_aside(home)
    home.ca.write_text(kit.ca, encoding="utf-8")
    pin_hub(home.hub_key, kit.hub_key)
    (home.path / "study.json").write_text(json.dumps(kit.study, indent=2) + "\n", encoding="utf-8")
    certificate = create_client_certificate(home.tls_key, home.tls, kit.site)
    node_key, signing_key = create_node_key(home.node_key, kit.site), SiteKey.open(home.signing_key)
    request = signed_request(kit, node_key, certificate, signing_key, declared_patients)
    write_request(home.path / "request.json", request)
    _write_once(home.site_file, _site_yaml(kit, declared_patients or 1))
    _write_once(home.path / "policy.yaml", _policy_yaml(kit, certificate_facts(home.ca).fingerprint))
    home.left.unlink(missing_ok=True)  # whoever left comes back with a new kit
    return request


def _declared(home: SiteHome, kit: Kit, said: int) -> int:
    """Returns the declared patients that the request proposes: what was said, else those of an older ``site.yaml``."""
    if not home.site_file.exists():
        return said
    settings = home.read()
    if settings.name != kit.site:
        raise ConfigError(
            f"{home.path} belongs to {settings.name}, the kit is for {kit.site}. Ask for an invitation of "
            f"{settings.name}: a second home for the same patients would have an account that knows nothing of the "
            "first. Only a site with other patients has another --home"
        )
    if said not in (0, settings.declared_patients):
        raise ConfigError(
            f"{home.site_file} declares {settings.declared_patients} patients, you say {said}; change it there first"
        )
    return settings.declared_patients


def _check_hub(home: SiteHome, kit: Kit) -> None:
    """Refuses a kit that would put another hub in the place of the one that this home knows: it is only a file."""
    known = {home.hub_key: kit.hub_key, home.ca: kit.ca}
    if any(path.exists() and path.read_text(encoding="utf-8").strip() != word.strip() for path, word in known.items()):
        raise TrustError(
            "The kit comes from another hub than this home knows, or its hub has new keys. Nothing was changed. Ask "
            "the hub's operator by telephone for the fingerprint of its key (oncofed-hub key), then join with "
            "--another-hub"
        )


def _put_aside(home: SiteHome) -> None:
    for path in (home.node_key, home.signing_key, home.tls_key, home.tls):
        if path.exists():
            path.replace(path.with_name(f"{path.name}.{time.time_ns()}.old"))


def _write_once(path: Path, text: str) -> None:
    if not path.exists():
        write_private(path, text.encode())  # a folder that was there keeps its mode, and the split's seed is secret


def _site_yaml(kit: Kit, declared_patients: int) -> str:
    return f"""\
# What only this hospital knows. Nothing of it leaves but the name and declared_patients.
name: {json.dumps(kit.site)}
hub: {json.dumps(kit.hub)}
# Public size of the training cohort, as the hub's register has it; round it, and do not change it for one study.
declared_patients: {declared_patients}
data:
  name: manifest
  # A CSV with the columns image, patient, label (malignant or benign); paths relative to it, or to `images`.
  root: ""
  images: null
  # Decides by a keyed hash which patients are trained, validated and tested on. It is this site's secret, drawn by
  # `join`: keep a copy, show it to nobody and never change it, or test patients become training patients.
  split_seed: {secrets.randbits(62)}
# Longest time one request may take, in seconds.
job_seconds: 3600
threads: 1
# Where networks run: auto (the first CUDA device, else the CPU), cpu, cuda or cuda:1.
device: auto
# Port on 127.0.0.1 for /health and Prometheus' /metrics; null: none.
monitor_port: null
"""


def _policy_yaml(kit: Kit, authority: str) -> str:
    privacy = {key: _plain(value) for key, value in kit.study.get("privacy", {}).items()}
    model, mode = (json.dumps(_plain(value)) for value in (kit.study.get("model", {}).get("name"), privacy.get("mode")))
    asks = ", ".join(f"{key} {privacy.get(key)}" for key in ("mode", "epsilon", "delta", "max_images"))
    columns = _columns(kit.study.get("evaluation", {}).get("subgroups"))
    epsilon = privacy.get("epsilon") if privacy.get("mode") != "none" else "0.0"
    return f"""\
## What this hospital allows, whatever the hub says. All is closed: this file says nothing yet.
## The privacy officer opens a line by taking the `# ` before it away; each line may be opened by itself.
## The study of the kit asks for: model {model}, {asks}.

## Lifetime epsilon of the cohort over all studies, and the epsilon of one study; the study of the kit needs this much.
# ceiling: {epsilon}
# study_ceiling: {epsilon}
## The digest of the study, to allow it and no other; its network and its way to be private.
# studies: [{kit.study_digest}]
# models: [{model}]
# modes: [{mode}]
## The authority that proves the hub of the kit (SHA-256 of its certificate); compare it with the consortium's.
# hubs: ["{authority}"]
## Whether score histograms of validation and test patients may leave: once a round and once a run.
# release_metrics: true
## Columns of the manifest whose values may name groups of test patients to the hub; others are not told of.
# subgroups: {columns}
## Epsilon that score counts with noise may cost a validation or test patient over all studies (evaluation.noise).
# evaluation_ceiling: 3.0
## Epsilon a year that quarterly counts of a model in use may cost one of its patients (oncofed-site monitor report).
# monitoring_ceiling: 3.0
## What may leave of models that this site trains without noise and keeps: none, verdict (helps, hurts or cannot tell),
## rounded (figures on a grid of 0.05), or full, which is for public data.
# own_models: verdict
## Whether sums of where the model looks on test patients may leave, by class and without noise (evaluation.attention).
# attention: true
## Largest delta, fewest patients with which the site trains, most images of a patient that enter a step.
# delta_max: 1.0e-5
# min_patients: 20
# max_images: 8
## Fewest patients of a split whose scores may leave, and of a group or class that may be counted.
# min_split: 10
# min_group: 5
## How many runs of one study may ask about the patients.
# runs_per_study: 1
## Whether private studies may go on with patients of a study without privacy (refuse or allow).
# after_unbounded: refuse
## Local times between which the site works; without the line, at any hour.
# opening_hours: ["20:00", "06:00"]
## Of secure sums (modes: [distributed]): fewest sites, and how many of them this site takes to side with the hub.
# min_sites: 3
# assumed_colluders: 1
"""


def _columns(subgroups: object) -> str:
    """Returns the columns of a study's subgroups, as a list in YAML, without what is no name of a column."""
    texts = subgroups if isinstance(subgroups, list | tuple) else ()
    names = (str(text).partition(":")[0].strip() for text in texts)
    return json.dumps(sorted({name for name in names if _COLUMN.fullmatch(name)}))


def _plain(value: object) -> str:
    """Returns it without what could end the comment that it stands in."""
    return "".join(character for character in str(value) if character.isprintable())
