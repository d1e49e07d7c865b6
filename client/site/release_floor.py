"""What of the site's patients may be counted to a hub: nobody alone, now or by putting together all that left.

Whoever has two counts has their difference too. So a site remembers which sets of patients it has released counts of,
over attributes, cut points, splits and studies. Those sets cut its patients into *atoms*: two patients are in one atom
when they were in the same sets, in the same class: who was counted as benign and later as malignant is for the memory
one who left and one who joined. Every sum and difference of released counts is constant on an atom, so if no atom is
small, none of them singles out fewer patients than an atom has (the cells of a lattice of sets; Dwork and Roth 2014,
section 1.1, for why differences must be refused).

It does not bound what many large sets say together of one patient's score: counts of groups are exact, without noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError, TooFewPatients
from common.trust.durable import exclusive, write_durably
from common.trust.signing import SiteKey

if TYPE_CHECKING:
    from client.site.hospital import Site
    from client.site.policy import SitePolicy
    from common.config.study import StudyConfig

FILE, KEY, LOCK = "released.json", "released.key", ".released.lock"
Counted = tuple[str, bool]
"""A patient's fingerprint, and whether she was counted as malignant."""
Atom = frozenset[Counted]
Members = NDArray[np.bool_]
Admits = Callable[[Iterable[Members]], bool]
"""Tells whether these groups may leave together, and if so remembers that they did."""


def check_split(policy: SitePolicy, labels: NDArray[Any]) -> None:
    """Refuses a split of which too little would leave: the policy's ``min_split`` patients, ``min_group`` a class.

    Args:
        policy: The site's.
        labels: 1 malignant, 0 benign, (P,).

    Raises:
        TooFewPatients: Says which floor; the hub learns the code only.
    """
    malignant = int((labels == 1).sum())
    cells = (malignant, labels.size - malignant)
    if labels.size < policy.min_split or not _fits(cells, policy.min_group):
        raise TooFewPatients(
            f"The split has {cells[0]} malignant and {cells[1]} benign patients; the policy lets scores of "
            f"{policy.min_split} patients or more leave (min_split), of a class none or {policy.min_group} (min_group)"
        )


@contextmanager
def releasing(site: Site, study: StudyConfig, patients: Sequence[str], labels: NDArray[Any]) -> Iterator[Admits]:
    """Remembers that counts of these patients leave, durably by the end of the block, and yields who else may.

    Args:
        site: Whose home keeps the memory; identifiers are in it as keyed fingerprints only.
        study: Its ``min_cell`` holds for groups where it is larger than the policy's ``min_group``.
        patients: The identifiers of a split, P.
        labels: 1 malignant, 0 benign, (P,).

    Raises:
        TooFewPatients: The split is below the policy's floors, or what left before would single out a few of it.
        DataError: The memory is damaged; nothing leaves until it is restored.
    """
    check_split(site.policy, labels)
    with exclusive(site.home / LOCK):
        memory = _Memory(site.home, patients, labels)
        if not memory.admits([np.ones(len(patients), dtype=bool)], site.policy.min_group):
            raise TooFewPatients(
                "With what was counted before, this split would single out a few patients who joined, left or were "
                "diagnosed anew; its scores may leave once more patients have"
            )
        floor = max(site.policy.min_group, study.evaluation.min_cell)
        yield lambda groups: memory.admits(groups, floor)
        memory.keep()


def refined(atoms: Iterable[Atom], released: Atom) -> list[Atom]:
    """Returns the atoms that are left when counts of one more set of patients have been released."""
    found, new = [], released
    for atom in atoms:
        found += [part for part in (atom & released, atom - released) if part]
        new -= atom
    return [*found, new] if new else found


class _Memory:
    """The atoms of all that was released, each patient in the class that she was counted in."""

    def __init__(self, home: Path, patients: Sequence[str], labels: NDArray[Any]) -> None:
        self._path, key = home / FILE, _key(home)
        prints = [key.fingerprint(f"released:{patient}") for patient in patients]
        self._counted: list[Counted] = [(mark, label == 1) for mark, label in zip(prints, labels.tolist(), strict=True)]
        self._key, self._atoms = key.public_hex, _read(self._path, key.public_hex)
        self._known = set(self._atoms)

    def admits(self, groups: Iterable[Members], floor: int) -> bool:
        """Returns whether no new atom of these groups is small; if so, they count as released."""
        atoms = self._atoms
        for members in groups:
            atoms = refined(atoms, frozenset(self._counted[index] for index in np.flatnonzero(members)))
        if not all(self._fits(atom, floor) for atom in set(atoms) - set(self._atoms)):
            return False
        self._atoms = atoms
        return True

    def _fits(self, atom: Atom, floor: int) -> bool:
        malignant = sum(is_malignant for _, is_malignant in atom)
        return len(atom) >= floor and _fits((malignant, len(atom) - malignant), floor)

    def keep(self) -> None:
        if set(self._atoms) != self._known:
            document = [{"malignant": _of_class(a, True), "benign": _of_class(a, False)} for a in self._atoms]
            _write(self._path, self._key, document)


def _of_class(atom: Atom, malignant: bool) -> list[str]:
    return sorted(mark for mark, is_malignant in atom if is_malignant == malignant)


def _fits(cells: tuple[int, int], floor: int) -> bool:
    return all(cell == 0 or cell >= floor for cell in cells)


def begin_memory(home: Path) -> None:
    """Writes an empty memory; first its file, so that a key without it is always damage, and a crash here never is."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(home / FILE, "", [])


def suppose_released(home: Path, members: Mapping[str, tuple[str, int]]) -> None:
    """Begins a memory that was lost, as if each split had been counted as it is now; one that is there stays.

    Args:
        home: The site's folder.
        members: Split and label of every patient, by identifier.
    """
    with exclusive(home / LOCK):
        if (home / FILE).exists() or (home / KEY).exists():
            return
        for counted in ("val", "test"):
            labels = {patient: label for patient, (split, label) in members.items() if split == counted}
            memory = _Memory(home, tuple(labels), np.array(list(labels.values()), dtype=int))
            memory.admits([np.ones(len(labels), dtype=bool)], floor=1)
            memory.keep()


def _key(home: Path) -> SiteKey:
    """Returns the key of the memory's fingerprints; with another one nobody would be known again.

    Raises:
        DataError: The key is gone while the memory is there, or the memory while its key is.
    """
    path, key = home / FILE, home / KEY
    if not path.exists():
        if key.exists():
            raise _damaged(path, "it is missing")
        begin_memory(home)
    if not key.exists() and _read(path, None):
        raise _damaged(key, "it is missing")
    return SiteKey.open(key)


def _write(path: Path, key: str, atoms: Sequence[Mapping[str, Sequence[str]]]) -> None:
    write_durably(path, json.dumps({"schema_version": 1, "key": key, "atoms": atoms}))


def _read(path: Path, key: str | None) -> list[Atom]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        atoms = [_atom(row) for row in document["atoms"]]
        if atoms and key not in (None, document["key"]):
            raise ValueError(f"{KEY} is another")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"it cannot be read ({error!r})") from None
    return atoms


def _atom(row: Mapping[str, Sequence[str]]) -> Atom:
    return frozenset((str(mark), name == "malignant") for name in ("malignant", "benign") for mark in row[name])


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: {why}. With it goes what was released of patients, so nothing about them leaves until {FILE} and "
        f"{KEY} are both restored from a backup of the site's folder"
    )
