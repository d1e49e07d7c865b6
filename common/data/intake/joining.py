"""Which rows of a table speak of which image: by path, by several columns together, by DICOM keys or by folder.

A name that two images bear names neither; a row that could speak of two images speaks of none.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from common.data.intake.choices import Choices
from common.data.intake.headers import KEYS, Header
from common.data.intake.identifiers import bare
from common.data.intake.views import side_and_view_of_name
from common.data.intake.words import has_word, label_of_cell, normal, words_of
from common.errors import DataError

ENOUGH = 0.5
"""Share of a column's cells that must name images for it to be the column of images."""
SIDES = {
    "l": "left", "left": "left", "links": "left", "izquierda": "left", "gauche": "left",
    "r": "right", "right": "right", "rechts": "right", "derecha": "right", "droite": "right",
}  # fmt: skip
BOTH = frozenset({"b", "both", "bilateral", "beide", "ambas", "lr", "l r"})
SIDE_WORDS = frozenset({"side", "laterality", "leftright", "seite", "lado", "lateralidad", "breast"})
VIEW_WORDS = frozenset({"view", "projection", "position", "viewposition"})
FILE_WORDS = frozenset({
    "image", "images", "file", "files", "filename", "path", "filepath", "img", "picture", "scan", "bild", "datei",
    "dateiname", "imagen", "archivo", "fichier", "immagine", "bestand", "dicom", "png",
})  # fmt: skip
_OF_SEVERAL = ("PatientID", "StudyInstanceUID", "AccessionNumber")
"""Keys that several images share, of two sides and several views."""
MASK_WORDS = frozenset({"mask", "masks", "maske", "segmentation", "roi", "contour", "annotation"})
VIEWS = frozenset({"CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM"})
Row = Mapping[str, str]
Parts = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Which rows speak of which image.

    Attributes:
        rows: Image -> its rows, one or more.
        columns: That named the images.
        said: How, in words.
        unused: Rows that speak of no image here.
        ambiguous: Images that a row names together with others, so that it names none.
        dumb: Rows that name several images, and so none.
    """

    rows: Mapping[str, tuple[Row, ...]]
    columns: tuple[str, ...]
    said: str
    unused: int = 0
    ambiguous: int = 0
    dumb: int = 0


def join(images: Sequence[str], rows: Sequence[Row], headers: Mapping[str, Header], choices: Choices) -> Joined:
    """Returns the rows of each image.

    Args:
        images: Paths relative to the folder.
        rows: Of the table, at least one.
        headers: Of those images that are DICOM.
        choices: ``image_column`` decides where given.

    Raises:
        DataError: No column names the images, or names that repeat do.
    """
    if choices.image_column and choices.image_column not in rows[0]:
        raise DataError(f"The table has no column {choices.image_column}; it has {', '.join(rows[0])}")
    columns = [choices.image_column] if choices.image_column else [n for n in rows[0] if not has_word(n, MASK_WORDS)]
    if not columns:
        raise DataError(
            f"The table has only columns of masks ({', '.join(rows[0])}); expected one that names the images"
        )
    index, folded = _Index(images), _Index(images, fold=True)
    hits = {name: [index.named(row[name]) or folded.named(row[name]) for row in rows] for name in columns}
    shares = {name: _share(found, len(images)) for name, found in hits.items()}
    best = max(shares, key=lambda name: (_speaks_of_files(rows, name) and shares[name] >= ENOUGH, shares[name]))
    by_path = None
    if shares[best] >= ENOUGH:
        _check_rivals(rows, best, hits, shares)
        by_path = _by_path(rows, best, hits[best])
        if len(rows) - by_path.unused - by_path.dumb >= ENOUGH * (len(rows) - by_path.unused):
            return by_path
    for attempt in (_by_header, _by_folder):
        found = attempt(images, rows, headers, columns)
        if found is not None:
            return found
    if by_path is not None and by_path.rows:
        return by_path
    if by_path is not None:
        raise DataError(
            f"Column {best} names images by names that repeat in several folders, so it names none; write their "
            "paths, or add a column with their folders"
        )
    raise DataError(
        f"No column of the table names the images: the best, {best}, names {shares[best]:.0%} of them. It holds "
        f"{rows[0][best]!r}, an image here is {images[0]!r}; patients in DICOM's PatientID or in folders would do too"
        f"{_without_zeros(images, rows, headers)}"
    )


def _share(hits: Sequence[frozenset[str]], images: int) -> float:
    """Returns the share of the cells that name images, or of the images that are named, whichever is more."""
    return max(sum(map(bool, hits)) / len(hits), len(frozenset().union(*hits)) / images)


def _speaks_of_files(rows: Sequence[Row], name: str) -> bool:
    """Returns whether a column's name or its cells say that it holds files."""
    paths = sum("." in row[name] or "/" in row[name] or "\\" in row[name] for row in rows)
    return has_word(name, FILE_WORDS) or paths > ENOUGH * len(rows)


def _check_rivals(
    rows: Sequence[Row], best: str, hits: Mapping[str, Sequence[frozenset[str]]], shares: Mapping[str, float]
) -> None:  # fmt: skip
    """Raises a DataError where another column names other images and neither says that it holds files."""
    rivals = [
        name
        for name in shares
        if shares[name] >= ENOUGH
        and _speaks_of_files(rows, name) == _speaks_of_files(rows, best)
        and any(one and other and one.isdisjoint(other) for one, other in zip(hits[name], hits[best], strict=True))
    ]
    if rivals:
        raise DataError(
            f"Several columns could name the images, and name different ones: {', '.join([best, *rivals])}. Say which "
            "with --image-column"
        )


def _without_zeros(images: Sequence[str], rows: Sequence[Row], headers: Mapping[str, Header]) -> str:
    """Returns a sentence where identifiers or names would be the same without leading zeros, else nothing."""
    known = {bare(header.patient) for header in headers.values()} | {bare(PurePosixPath(i).stem) for i in images}
    known |= {bare(part) for image in images for part in PurePosixPath(image).parts[:-1]}
    lost = [
        name for name in rows[0] if sum(bare(row[name]) in known for row in rows if row[name]) >= ENOUGH * len(rows)
    ]
    return f". Column {lost[0]} would fit but for leading zeros or letter case: export it as text" if lost else ""


class _Index:
    """Images by the ends of their paths, with and without the suffix of the name; ``fold``: in any letter case."""

    def __init__(self, images: Sequence[str], *, fold: bool = False) -> None:
        self._fold = fold
        self._ends: dict[Parts, set[str]] = defaultdict(set)
        self._whole: dict[Parts, set[str]] = defaultdict(set)
        for image in images:
            for parts in map(self._case, _spellings(image)):
                self._whole[parts].add(image)
                for start in range(len(parts)):
                    self._ends[parts[start:]].add(image)

    def _case(self, parts: Parts) -> Parts:
        return tuple(part.casefold() for part in parts) if self._fold else parts

    def named(self, cell: str) -> frozenset[str]:
        """Returns the images whose path ends as the cell does, or is the end of the cell; the longest end wins."""
        parts = self._case(_parts(cell))
        if not parts:
            return frozenset()
        if parts in self._ends:
            return frozenset(self._ends[parts])
        for start in range(1, len(parts)):
            if parts[start:] in self._whole:
                return frozenset(self._whole[parts[start:]])
        return frozenset()


def _parts(path: str) -> Parts:
    """Returns the parts of a path that is written for Windows or not, without drive and root."""
    windows = PureWindowsPath(path)
    return tuple(part for part in windows.parts if part != windows.anchor and part not in (".", ".."))


def _spellings(image: str) -> list[Parts]:
    parts = PurePosixPath(unicodedata.normalize("NFC", image)).parts
    return [parts, (*parts[:-1], PurePosixPath(parts[-1]).stem)] if PurePosixPath(parts[-1]).suffix else [parts]


def _by_path(rows: Sequence[Row], column: str, hits: Sequence[frozenset[str]]) -> Joined:
    """Returns the rows by the column of paths, told apart by folders that stand in other columns where names repeat."""
    helping = _folder_columns(rows, column, hits) if any(len(found) > 1 for found in hits) else ()
    found: dict[str, list[Row]] = defaultdict(list)
    unused, dumb, ambiguous = 0, 0, set[str]()
    for row, candidates in zip(rows, hits, strict=True):
        fitting = [image for image in candidates if _in_folders(image, [row[name] for name in helping])]
        if len(fitting) == 1:
            found[fitting[0]].append(row)
        elif fitting:
            ambiguous.update(fitting)
            dumb += 1
        else:
            unused += 1
    ambiguous -= found.keys()
    columns = (column, *helping)
    said = f"column {column} names the images" if not helping else f"columns {', '.join(columns)} name the images"
    return Joined({image: tuple(of) for image, of in found.items()}, columns, said, unused, len(ambiguous), dumb)


def _folder_columns(rows: Sequence[Row], column: str, hits: Sequence[frozenset[str]]) -> tuple[str, ...]:
    """Returns the columns whose cells are a folder of one of the row's images, in nearly all rows that name some."""
    some = [(row, found) for row, found in zip(rows, hits, strict=True) if found]
    return tuple(
        name
        for name in rows[0]
        if name != column
        and sum(any(_in_folders(image, [row[name]]) for image in found) for row, found in some) >= 0.9 * len(some)
        and any(row[name] for row, _ in some)
    )


def _in_folders(image: str, cells: Sequence[str]) -> bool:
    folders = PurePosixPath(image).parts[:-1]
    return all(not cell or _holds(folders, _parts(cell)) for cell in cells)


def _holds(folders: Parts, wanted: Parts) -> bool:
    return any(folders[at : at + len(wanted)] == wanted for at in range(len(folders) - len(wanted) + 1))


def _by_header(
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


def _by_folder(
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
            name: [{part for part in _parts(row[name]) if part in names} if names else set() for row in rows]
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
        parts = [part for part in _parts(row[column]) if part in names] if names else [row[column]]
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
        filled = [normal(row[name]) for row in rows if row[name]]
        share = sum(word in known for word in filled) / len(filled) if filled else 0.0
        if share > most and (share == 1 or (share >= ENOUGH and set(words_of(name)) & set(called))):
            best, most = name, share
    return best


def _fits(row: Row, image: str, header: Header | None, side: str, view: str) -> bool:
    """Returns whether the row is of the image's side and view; what is not known of an image fits none."""
    told_side, told_view = _told(image, header)
    of_side = normal(row[side]) if side else ""
    right_side = not of_side or of_side in BOTH or SIDES.get(of_side, "unknown") == told_side
    return right_side and (not view or not row[view] or normal(row[view]).upper() == told_view)


def _told(image: str, header: Header | None) -> tuple[str, str]:
    """Returns side and view by the header, else by the file's name, as in ``1_L_CC`` or ``LMLO``; empty if unknown."""
    if header is not None and (header.side or header.view):
        return header.side, header.view
    return side_and_view_of_name(PurePosixPath(image).stem)
