"""The commands `wheatear data …`: check, split, convert and draw a data set; pseudo has a file of its own."""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from wheatear.cli_errors import friendly_errors
from wheatear.cli_pseudo import pseudo_command

if TYPE_CHECKING:
    from rich.status import Status

    from wheatear.data.check import Problem, Summary
    from wheatear.data.sample import Sample

app = typer.Typer(no_args_is_help=True, help="Check, split, convert and draw data sets.")
app.command("pseudo")(pseudo_command)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Photos with boxes: Kaggle, GWHD 2021, COCO, YOLO or VOC.")
]


class Format(StrEnum):
    """The names of data.formats.FORMATS, which `--help` shall list without loading it."""

    kaggle = "kaggle"
    gwhd = "gwhd"
    coco = "coco"
    yolo = "yolo"
    voc = "voc"


@app.command()
@friendly_errors()
def check(folder: Folder) -> None:
    """Count photos, heads and box sizes, and list what is wrong by photo and row.

    The exit code is 1 if a photo cannot be read. Other findings (boxes outside
    the photo or of no area, specks, giants, duplicates) leave it at 0.
    """
    from wheatear.data.check import check
    from wheatear.data.formats import read_dataset

    with _busy("Opening every photo"):
        report = check(read_dataset(folder))
    for problem in report.problems:
        typer.echo(_line(problem))
    Console().print(_count_table([*report.places, report.total]))
    kinds = Counter(problem.kind for problem in report.problems)
    typer.echo(", ".join(f"{kind}: {count:,}" for kind, count in kinds.items()) or "no problems found")
    raise typer.Exit(1 if "unreadable photo" in kinds else 0)


@app.command()
@friendly_errors()
def split(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The file to write; DIR/images.csv if not given.")] = None,
    val: Annotated[float, typer.Option(help="Share of the field photos that goes to val.")] = 0.13,
    seed: Annotated[int, typer.Option(help="Another seed draws other photos.")] = 0,
) -> None:
    """Divide the photos into train and val so that no field photo is on both sides, and write images.csv.

    Tiles that were cut from one field photo are found by their edges. A split
    that DIR/images.csv gives already is kept.
    """
    from wheatear.data.formats import IMAGES_CSV, read_dataset
    from wheatear.data.splits import split, write_images_csv

    with _busy("Comparing the edges of the photos"):
        samples = split(read_dataset(folder), val, seed)
    out = out or folder / IMAGES_CSV
    write_images_csv(samples, out)
    Console().print(_split_table(samples))
    photos = Counter(sample.photo for sample in samples)
    pairs = sum(tiles * (tiles - 1) // 2 for tiles in photos.values())
    typer.echo(f"{len(samples):,} tiles of {len(photos):,} field photos; {pairs:,} pairs of tiles share one.")
    typer.echo(f"Written to {out}")


@app.command()
@friendly_errors()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Photos with boxes, in any of the formats.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="A new or empty folder.")],
    to: Annotated[Format, typer.Option(help="The format to write.")],
    link: Annotated[bool, typer.Option("--link", help="Link to the photos instead of copying them.")] = False,
) -> None:
    """Write photos and boxes in another format.

    Nothing is lost: boxes keep 0.001 pixel, photos without heads stay, and
    source, session and split also go into DST/images.csv.
    """
    from wheatear.data.formats import read_dataset, write_dataset

    with _busy("Reading and writing photos"):
        samples = read_dataset(source)
        write_dataset(samples, folder, to.value, link)
    empty = sum(not len(sample.boxes) for sample in samples)
    heads = sum(len(sample.boxes) for sample in samples)
    typer.echo(f"{len(samples):,} photos ({empty:,} without heads) with {heads:,} heads written to {folder}")


@app.command()
@friendly_errors()
def draw(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write photos and boxes.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many photos.")],
    size: Annotated[int, typer.Option(min=1, help="Their width and height in pixels.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same photos.")] = 0,
) -> None:
    """Draw photos of a wheat field that does not exist, with exact boxes, in Kaggle's layout."""
    from wheatear.data.synth import draw_dataset

    with _busy(f"Drawing {n} photos"):
        draw_dataset(folder, n, size, seed)
    typer.echo(f"{n:,} photos drawn in {folder}")


def _busy(text: str) -> "Status":
    return Console(stderr=True).status(text)


def _line(problem: "Problem") -> str:
    place = f"{problem.photo.name}, row {problem.row}" if problem.row else problem.photo.name
    return f"{place}: {problem.kind}: {problem.detail}"


def _count_table(summaries: Iterable["Summary"]) -> Table:
    table = Table("", caption="Three numbers are min / median / max; box size is √area in pixels.")
    for column in ("photos", "no heads", "boxes", "heads per photo", "box size"):
        table.add_column(column, justify="right")
    for summary in summaries:
        counts = (summary.photos, summary.photos_without_heads, summary.boxes)
        table.add_row(
            summary.name, *(f"{count:,}" for count in counts), *map(_range, (summary.heads, summary.sizes))
        )
    return table


def _range(values: tuple[float, float, float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in values)


def _split_table(samples: Sequence["Sample"]) -> Table:
    table = Table("split")
    for column in ("field photos", "tiles", "boxes"):
        table.add_column(column, justify="right")
    for name in sorted({sample.split for sample in samples}):
        tiles = [sample for sample in samples if sample.split == name]
        counts = (len({tile.photo for tile in tiles}), len(tiles), sum(len(tile.boxes) for tile in tiles))
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table
