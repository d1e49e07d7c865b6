"""Which rows of a table speak of which image: by path, by several columns together, by DICOM keys or by folder.

A name that two images bear names neither; a row that could speak of two images speaks of none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from common.data.intake.choices import Choices
from common.data.intake.headers import Header
from common.data.intake.identifiers import bare
from common.data.intake.joined import ENOUGH, Joined, Row
from common.data.intake.keyed import by_folder, by_header
from common.data.intake.path_index import PathIndex, in_folders
from common.data.intake.words import has_word
from common.errors import DataError

FILE_WORDS = frozenset({
    "image", "images", "file", "files", "filename", "path", "filepath", "img", "picture", "scan", "bild", "datei",
    "dateiname", "imagen", "archivo", "fichier", "immagine", "bestand", "dicom", "png",
})  # fmt: skip
MASK_WORDS = frozenset({"mask", "masks", "maske", "segmentation", "roi", "contour", "annotation"})


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
    index, folded = PathIndex(images), PathIndex(images, fold=True)
    hits = {name: [index.named(row[name]) or folded.named(row[name]) for row in rows] for name in columns}
    shares = {name: _share(found, len(images)) for name, found in hits.items()}
    best = max(shares, key=lambda name: (_speaks_of_files(rows, name) and shares[name] >= ENOUGH, shares[name]))
    by_path = None
    if shares[best] >= ENOUGH:
        _check_rivals(rows, best, hits, shares)
        by_path = _by_path(rows, best, hits[best])
        if len(rows) - by_path.unused - by_path.dumb >= ENOUGH * (len(rows) - by_path.unused):
            return by_path
    for attempt in (by_header, by_folder):
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


def _by_path(rows: Sequence[Row], column: str, hits: Sequence[frozenset[str]]) -> Joined:
    """Returns the rows by the column of paths, told apart by folders that stand in other columns where names repeat."""
    helping = _folder_columns(rows, column, hits) if any(len(found) > 1 for found in hits) else ()
    found: dict[str, list[Row]] = defaultdict(list)
    unused, dumb, ambiguous = 0, 0, set[str]()
    for row, candidates in zip(rows, hits, strict=True):
        fitting = [image for image in candidates if in_folders(image, [row[name] for name in helping])]
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
        and sum(any(in_folders(image, [row[name]]) for image in found) for row, found in some) >= 0.9 * len(some)
        and any(row[name] for row, _ in some)
    )
