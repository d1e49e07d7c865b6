"""Rows of a breast, a patient or a study: by what DICOM says of images or by their folders, and by side and view."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from common.data.intake.headers import KEYS, Header
from common.data.intake.joined import ENOUGH, Joined, Row
from common.data.intake.path_index import path_parts
from common.data.intake.views import side_and_view_of_name
from common.data.intake.words import label_of_cell, one_spelling, words_of
from common.errors import DataError

SIDES = {
    "l": "left", "left": "left", "links": "left", "izquierda": "left", "gauche": "left",
    "r": "right", "right": "right", "rechts": "right", "derecha": "right", "droite": "right",
}  # fmt: skip
BOTH = frozenset({"b", "both", "bilateral", "beide", "ambas", "lr", "l r"})
SIDE_WORDS = frozenset({"side", "laterality", "leftright", "seite", "lado", "lateralidad", "breast"})
VIEW_WORDS = frozenset({"view", "projection", "position", "viewposition"})
_OF_SEVERAL = ("PatientID", "StudyInstanceUID", "AccessionNumber")
"""Keys that several images share, of two sides and several views."""
VIEWS = frozenset({"CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM"})


def by_header(
    images: Sequence[str], rows: Sequence[Row], headers: Mapping[str, Header], columns: Sequence[str]
) -> Joined | None:  # fmt: skip
    """Returns the rows by a column that holds what a DICOM key holds; by side and view too where the table has them."""
    for key in reversed(KEYS):
        values = {header.keys.get(key, "") for header in headers.values()} - {""}
        column = _best(rows, columns, values)
        if column:
            keyed = {image: header.keys.get(key, "") for image, header in headers.items()}
            said = f"column {column} names the images by DICOM's {key}"
            by_key = _rows_by(rows, column)
            return _grouped(rows, column, keyed, by_key, headers if key in _OF_SEVERAL else None, said)
    return None


def by_folder(
    images: Sequence[str], rows: Sequence[Row], headers: Mapping[str, Header], columns: Sequence[str]
) -> Joined | None:  # fmt: skip
    """Returns the rows by a column that holds the name of one folder, at the depth with the most different names."""
    depth = min(len(PurePosixPath(image).parts) - 1 for image in images)
    levels = [{image: PurePosixPath(image).parts[at] for image in images} for at in range(depth)]
    fitting = [(keyed, column) for keyed in levels if (column := _best(rows, columns, _names(keyed)))]
    if not fitting:
        return _by_part(rows, levels, columns)
    keyed, column = max(fitting, key=lambda pair: len(set(pair[0].values())))
    by_key = _rows_by(rows, column)
    return _grouped(rows, column, keyed, by_key, headers, f"column {column} names the images by their folder")


def _by_part(rows: Sequence[Row], levels: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Joined | None:
    """Returns the rows by a column of paths that go through the image's folder, as where files were converted."""
    for keyed in levels:
        names = _names(keyed)
        parts = {
            name: [{part for part in path_parts(row[name]) if part in names} if names else set() for row in rows]
            for name in columns
        }
        for name, found in parts.items():
            if sum(len(some) == 1 for some in found) >= ENOUGH * len(rows) and len(set(keyed.values())) == len(keyed):
                by_key = _rows_by(rows, name, names)
                return _grouped(rows, name, keyed, by_key, None, f"column {name} names the images by their folder")
    return None


def _rows_by(rows: Sequence[Row], column: str, names: Collection[str] = ()) -> dict[str, list[Row]]:
    """Returns cell -> its rows; with ``names``, the one of them that is a part of the path in the cell -> its rows."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts = [part for part in path_parts(row[column]) if part in names] if names else [row[column]]
        if len(set(parts)) == 1:
            found[parts[0]].append(row)
    return found


def _names(keyed: Mapping[str, str]) -> set[str]:
    """Returns the folders' names; none where they are one, or labels."""
    names = set(keyed.values())
    return set() if len(names) < 2 or any(label_of_cell(name) is not None for name in names) else names


def _best(rows: Sequence[Row], columns: Sequence[str], values: Collection[str]) -> str:
    """Returns the column most of whose cells are among the values; empty where none names enough of them."""
    if not values:
        return ""
    held = {name: [row[name] for row in rows if row[name] in values] for name in columns}
    shares = {name: max(len(cells) / len(rows), len(set(cells)) / len(values)) for name, cells in held.items()}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= ENOUGH else ""


def _grouped(
    rows: Sequence[Row], column: str, keyed: Mapping[str, str], by_key: Mapping[str, Sequence[Row]],
    headers: Mapping[str, Header] | None, said: str,
) -> Joined:  # fmt: skip
    """Returns the rows of each image's key; ``headers`` tell sides and views, None where a key is of one image."""
    side = _column_of(rows, SIDES.keys() | BOTH, SIDE_WORDS) if headers is not None else ""
    view = _column_of(rows, {word.casefold() for word in VIEWS}, VIEW_WORDS) if headers is not None else ""
    found, used = {}, Counter[int]()
    for image, key in keyed.items():
        of = [row for row in by_key.get(key, ()) if _fits(row, image, (headers or {}).get(image), side, view)]
        if key and of:
            found[image] = tuple(of)
            used.update(map(id, of))
    also = [name for name in (side, view) if name]
    if not found and also:
        raise DataError(
            f"{said[:1].upper()}{said[1:]}, but {' and '.join(also)} tells of a side or view that neither the header "
            "nor the name of any image does; add a column with the images' paths, or leave that column out"
        )
    how = f"{said}, and {' and '.join(also)} by side and view" if also else said
    return Joined(found, (column, *also), how, sum(id(row) not in used for row in rows))


def _column_of(rows: Sequence[Row], known: Collection[str], called: Collection[str]) -> str:
    """Returns the column of sides or of views: all or most of whose cells are known, the latter if it is called so."""
    best, most = "", 0.0
    for name in rows[0]:
        filled = [one_spelling(row[name]) for row in rows if row[name]]
        share = sum(word in known for word in filled) / len(filled) if filled else 0.0
        if share > most and (share == 1 or (share >= ENOUGH and set(words_of(name)) & set(called))):
            best, most = name, share
    return best


def _fits(row: Row, image: str, header: Header | None, side: str, view: str) -> bool:
    """Returns whether the row is of the image's side and view; what is not known of an image fits none."""
    told_side, told_view = _told(image, header)
    of_side = one_spelling(row[side]) if side else ""
    right_side = not of_side or of_side in BOTH or SIDES.get(of_side, "unknown") == told_side
    return right_side and (not view or not row[view] or one_spelling(row[view]).upper() == told_view)


def _told(image: str, header: Header | None) -> tuple[str, str]:
    """Returns side and view by the header, else by the file's name, as in ``1_L_CC`` or ``LMLO``; empty if unknown."""
    if header is not None and (header.side or header.view):
        return header.side, header.view
    return side_and_view_of_name(PurePosixPath(image).stem)
