"""``oncofed-sim data``: look at a data set as the emulated hospitals will have it, before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.envelope import Json, print_json
from common.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    help="Look at a data set as the emulated hospitals will have it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Hydra overrides, for instance: data=bus_bra data.root=/data partition=natural"),
]


@app.command()
def show(
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Also write labels by site to this SVG file.")] = None,
    as_json: Json = False,
) -> None:
    """Count images, patients and classes by split and by site; name notes, licence and citation.

    Examples:
        oncofed-sim data show

        oncofed-sim data show data=bus_bra data.root=/data/BUSBRA partition=natural --json
    """
    from common.config.study import compose
    from simulations.data.data_summary import summarise_data, training_labels

    summary = summarise_data(compose(overrides or []))
    if out is not None:
        from simulations.data.data_plots import labels_svg

        _write(out, labels_svg(training_labels(summary)))
    if as_json:
        print_json(summary)
    else:
        _print_tables(summary)


@app.command()
def balance(
    malignant: Annotated[float, typer.Option(min=0, max=1, help="Share of malignant patients.")] = 0.33,
    as_json: Json = False,
) -> None:
    """Say how even the split of a cohort comes out, whose patients are divided by a hash of each alone.

    Example: oncofed-sim data balance --malignant 0.2
    """
    from simulations.data.balance import PATIENTS
    from simulations.data.balance import balance as measure

    rows = [measure(patients, malignant) for patients in PATIENTS]
    if as_json:
        print_json({"cohorts": rows})
        return
    for row in rows:
        (few, half, many), (low, middle, high) = row["in_split"], row["malignant_share"]
        print(
            f"15% of {row['patients']} patients: {few:.0f} to {many:.0f} (median {half:.0f}), malignant {low:.0%} to "
            f"{high:.0%} (median {middle:.0%}); {row['lacks_a_class']:.1%} of splits lack a class and are refused"
        )


@app.command()
def plot(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for examples.svg and labels-by-site.svg.")] = Path("plots"),
    outlines: Annotated[bool, typer.Option(help="Outline the lesions where masks exist.")] = True,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet of examples by class, and the label distribution by site.

    Examples:
        oncofed-sim data plot partition=dirichlet partition.alpha=0.3 --out plots
    """
    from common.config.study import compose
    from simulations.data.data_plots import examples_svg, labels_svg
    from simulations.data.data_summary import summarise_sites, training_labels
    from simulations.data.sources import open_sites

    study = compose(overrides or [])
    sites = open_sites(study.data, study.partition, study.seed)
    drawn = {"labels-by-site.svg": labels_svg(training_labels(summarise_sites(sites)))}
    if next(iter(sites.values())).kind == "image":
        drawn["examples.svg"] = examples_svg(sites, outlines=outlines)
    for name, text in drawn.items():
        _write(out / name, text)
    if as_json:
        print_json({"files": [str(out / name) for name in sorted(drawn)]})
    else:
        typer.echo(f"Wrote {' and '.join(sorted(drawn))} to {out}", err=True)


def _write(path: Path, text: str) -> None:
    if path.suffix != ".svg":
        raise UsageError(f"--out {path} is no SVG file; expected a name ending in .svg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); choose another --out") from None


def _print_tables(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    dataset = summary["dataset"]
    console.print(_by_split(summary), _by_site(summary))
    for warning in summary["warnings"]:
        console.print(f"[yellow]Mind:[/yellow] {escape(warning)}")
    for note in dataset["notes"]:
        console.print(f"Note: {escape(note)}")
    for key in ("licence", "citation"):
        if dataset[key]:
            console.print(f"{key.capitalize()}: {escape(dataset[key])}", highlight=False)


def _by_split(summary: dict[str, Any]) -> Table:
    columns = ("images", "patients", "malignant", "benign")
    table = _table(f"{summary['dataset']['name']} by split", "split", columns)
    for name, counts in [*summary["splits"].items(), ("all", summary["total"])]:
        table.add_row(name, *(str(counts[column]) for column in columns))
    return table


def _by_site(summary: dict[str, Any]) -> Table:
    table = _table("Sites, patients malignant / benign", "site", ("images", "patients", "train", "val", "test"))
    for row in summary["sites"]:
        pairs = [f"{row[f'{split}_malignant']} / {row[f'{split}_benign']}" for split in ("train", "val", "test")]
        table.add_row(row["site"], str(row["images"]), str(row["patients"]), *pairs)
    return table


def _table(title: str, key: str, columns: tuple[str, ...]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(key)
    for column in columns:
        table.add_column(column, justify="right")
    return table
