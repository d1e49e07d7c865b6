"""What folders and names tell of patients where nothing else does, and whether only one reading of them makes sense."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from common.data.intake.views import LOOSE, tells_no_patient

MANY = 40
"""Images that no single patient is expected to have in one folder or under one name."""
FEW, LONG = 20, 3
"""Fewer folders of shorter names may as well be grades (1 to 5) or batches."""
_ID = re.compile(r"[^\W\d_]{0,12}[-_ ]?\d+([-_]\d+)*")
_PERSON = re.compile(r"(p|pt|pat|patient|case|subj|subject|id|d|w|woman|sub|mrn|pid)[-_ ]?\d+([-_]\d+)*", re.IGNORECASE)
_GROUP = re.compile(
    r"batch|part|set|series|fold|group|site|hospital|center|centre|scanner|year|visit|exam|study|export|run|cohort|page|"
    r"dir|folder|archive|img|image|device|class|birads|acr|level",
    re.IGNORECASE,
)
"""Words in the name of a folder of several patients, or of one of several of a patient."""
LEADING = re.compile(r"^([A-Za-z]*[_-]?\d+)(?=[_\- (.])(.*)$")
_DATE = re.compile(r"(19|20)\d\d([01]\d([0-3]\d)?)?")


def folder_guess(images: Sequence[str], folders: Mapping[str, tuple[str, ...]]) -> tuple[str, dict[str, str]]:
    """Returns ``patient`` with image -> folder, ``doubt``, ``groups`` (folders that are no patients) or ``none``."""
    if not all(folders.values()):
        return ("groups" if any(folders.values()) else "none"), {}
    levels = _levels(folders)
    people = [level for level in levels if _look_like_people(level)]
    if any(_under_several(level, folders) for level in people or levels):
        return ("doubt" if people or any(_look_like_ids(level) for level in levels) else "groups"), {}
    if len(people) == 1:
        return "patient", people[0]
    if people or any(_look_like_ids(level) for level in levels):
        sure = [level for level in levels if _look_like_ids(level) and _names_tell_nobody(images, level)]
        sure = [level for level in sure if not _may_be_grades(level)]
        alone = len(levels) == 1 and not people and len(sure) == 1
        return ("patient", sure[0]) if alone else ("doubt", {})
    return "groups", {}


def _levels(folders: Mapping[str, tuple[str, ...]]) -> list[dict[str, str]]:
    depth = min(len(parts) for parts in folders.values())
    levels = [{image: parts[at] for image, parts in folders.items()} for at in range(depth)]
    return [level for level in levels if len(set(level.values())) > 1]


def _under_several(level: Mapping[str, str], folders: Mapping[str, tuple[str, ...]]) -> bool:
    """Returns whether one name stands in several folders, as when two hospitals number their patients alike."""
    above: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for image, name in level.items():
        above[name].add(folders[image][: folders[image].index(name)])
    return any(len(some) > 1 for some in above.values())


def _look_like_people(level: Mapping[str, str]) -> bool:
    return _sized(level) and all(_PERSON.fullmatch(name) for name in set(level.values()))


def _look_like_ids(level: Mapping[str, str]) -> bool:
    names = set(level.values())
    return _sized(level) and all(
        _ID.fullmatch(name) and not _GROUP.search(name) and not _DATE.fullmatch(name) for name in names
    )


def _may_be_grades(level: Mapping[str, str]) -> bool:
    """Returns whether the names may be of a scale or of batches: few, and of one or two digits only."""
    names = set(level.values())
    return len(names) < FEW and any(len(name) < LONG for name in names)


def _sized(level: Mapping[str, str]) -> bool:
    sizes = Counter(level.values())
    return len(sizes) > 2 and max(sizes.values()) <= MANY


def _names_tell_nobody(images: Sequence[str], level: Mapping[str, str]) -> bool:
    return all(tells_no_patient(PurePosixPath(image).stem.replace(level[image], "")) for image in images)


def name_guess(images: Sequence[str], folders: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Returns image -> the beginning of its name, where every name begins so and goes on with view or number only."""
    matches = {image: LEADING.match(PurePosixPath(image).name) for image in images}
    found = {image: match for image, match in matches.items() if match}
    stems = Counter(PurePosixPath(image).stem for image in images)
    lead = {image: match[1] for image, match in found.items()}
    rest = {image: PurePosixPath(match[2]).stem if "." in match[2] else match[2] for image, match in found.items()}
    sure = (
        len(found) == len(images)
        and max(stems.values()) == 1
        and 1 < len(set(lead.values())) < len(images)
        and max(Counter(lead.values()).values()) <= MANY
        and all(tells_no_patient(text) for text in rest.values())
        and not any(
            _DATE.fullmatch(name) or re.sub(r"[\W\d_]", "", name).upper() in LOOSE - {""} for name in lead.values()
        )
    )
    return lead if sure else {}


def torn_by(lead: Mapping[str, str], folders: Mapping[str, tuple[str, ...]]) -> bool:
    """Returns whether one beginning of a name occurs in several folders: numbers that start again are no patients."""
    places: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for image, who in lead.items():
        places[who].add(folders[image])
    return any(len(some) > 1 for some in places.values())
