"""The commands `wheatear data …`: check, split, convert and draw a data set; others have files of their own."""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wheatear import words
from wheatear.cli_denoise import denoise_command
from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import DatasetArgument, named_path, need_torch, tell_other_sizes
from wheatear.cli_pseudo import pseudo_command
from wheatear.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.status import Status

    from wheatear.data.check import Problem, Summary
    from wheatear.data.sample import Sample

app = typer.Typer(no_args_is_help=True, help="Check, split, label, convert and generate data sets.")
app.command("pseudo")(pseudo_command)
app.command("denoise")(denoise_command)


class Format(StrEnum):
    """The names of data.formats.FORMATS, which `--help` shall list without loading it."""

    kaggle = "kaggle"
    gwhd = "gwhd"
    coco = "coco"
    yolo = "yolo"
    voc = "voc"


@app.command()
@friendly_errors()
def check(
    folder: DatasetArgument,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Compare the anchors of this recipe as well; needs the extra `train`."
        ),
    ] = None,
) -> None:
    """Count photos, heads and box sizes, list problems by photo and row, and fit anchors to the boxes.

    Anchors are fitted by k-means on IoU to the boxes used in training: those of
    the train photos and of photos in no split. There are as many as in the
    recipe, or 9 as in Faster R-CNN.

    The exit code is 1 if a photo cannot be read. Other findings (boxes outside
    the photo or without area, specks, giants, duplicates, photos whose size is
    not that of their labels) leave it at 0.
    """
    from wheatear.data.check import check
    from wheatear.data.formats import read_dataset

    anchors = _recipe_anchors(recipe) if recipe else None
    samples = read_dataset(folder)
    with _busy("Opening every photo"):
        report = check(samples)
    for problem in report.problems:
        typer.echo(_line(problem))
    Console().print(_count_table([*report.places, report.total]))
    kinds = Counter(problem.kind for problem in report.problems)
    typer.echo(", ".join(f"{kind}: {count:,}" for kind, count in kinds.items()) or "no problems found")
    _show_anchors(samples, recipe, anchors)
    raise typer.Exit(1 if "unreadable photo" in kinds else 0)


@app.command()
@friendly_errors()
def split(
    folder: DatasetArgument,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="DIR/images.csv")] = None,
    val: Annotated[float, typer.Option(help="Share of the field photos for val, between 0 and 1.")] = 0.13,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for choosing the val photos.")] = 0,
    held: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out",
            metavar="SESSION",
            help="Make this session val and all others train; can be repeated.",
        ),
    ] = None,
) -> None:
    """Split the photos into train and val so that no field photo is in both, and write images.csv.

    Tiles cut from the same field photo are recognised by their edges. An existing
    DIR/images.csv keeps its split, unless sessions are held out, and its other
    columns and photos. If --out names another file, pass that to `wheatear train`
    and `evaluate` with --images.
    """
    from wheatear.csv_files import read_table
    from wheatear.data.field_photos import too_short
    from wheatear.data.formats import IMAGES_CSV, read_dataset, refuse_read
    from wheatear.data.splits import divided_photos, hold_out, split, write_images_csv, write_split
    from wheatear.files import make_way

    known = read_dataset(folder)
    out = out or folder / IMAGES_CSV
    make_way(out)
    is_own = out.resolve() == (folder / IMAGES_CSV).resolve()
    if out.exists() and not is_own and not {"image_id", "split"} <= set(read_table(out)[0]):
        raise InputError(f"{out}: is there already and is no {IMAGES_CSV}; name another file for --out")
    if not is_own:
        refuse_read(folder, out)
    unread: list[Path] = []
    with _busy("Comparing the edges of the photos"):
        samples = hold_out(known, held, unread) if held else split(known, val, seed, unread)
    _tell_unread(unread, out)
    if warning := too_short(known):
        typer.echo(f"wheatear: {warning}", err=True)
    if divided := divided_photos(samples):
        typer.echo(
            f"wheatear: field photos that were divided already, with tiles in train and in val or test: {divided:,}; "
            f"figures on those are too good; give all tiles of a field photo one split in {out}",
            err=True,
        )
    if not any(sample.split == "val" for sample in samples):
        typer.echo(
            "wheatear: no photo is in val, so none to judge a detector by; add another field photo", err=True
        )
    write = write_split if is_own else write_images_csv
    write(samples, out)
    Console().print(_split_table(samples))
    photos = Counter(sample.photo for sample in samples)
    pairs = sum(tiles * (tiles - 1) // 2 for tiles in photos.values())
    typer.echo(f"{len(samples):,} tiles of {len(photos):,} field photos; {pairs:,} pairs of tiles share one.")
    typer.echo(f"Written to {out}")


@app.command()
@friendly_errors()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Photos with boxes, in any of the formats that --to lists.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="New or empty folder.", parser=named_path)],
    to: Annotated[Format, typer.Option(help="Format to write.")],
    link: Annotated[bool, typer.Option("--link", help="Link to the photos instead of copying them.")] = False,
) -> None:
    """Convert photos and boxes to another format.

    Boxes are kept to 0.001 pixel, photos without heads are kept, and source,
    session and split are also written to DST/images.csv. Unlabelled photos are
    left out.
    """
    from wheatear.data.formats import read_dataset, refuse_inside, write_dataset

    refuse_inside(source, folder)
    with _busy("Reading and writing photos"):
        samples = read_dataset(source)
        write_dataset(samples, folder, to.value, link)
    tell_other_sizes(samples)
    empty = sum(not len(sample.boxes) for sample in samples)
    heads = sum(len(sample.boxes) for sample in samples)
    typer.echo(
        f"{words.photos(len(samples))} ({empty:,} without heads) with {heads:,} heads written to {folder}"
    )


@app.command()
@friendly_errors()
def draw(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the photos and boxes.", parser=named_path)
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of photos.")],
    size: Annotated[
        int, typer.Option(min=1, max=16_384, help="Width and height of the photos, in pixels.")
    ] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same photos.")] = 0,
) -> None:
    """Draw synthetic photos of a wheat field, with exact boxes, in Kaggle's layout."""
    from wheatear.data.synth import draw_dataset

    with _busy(f"Drawing {n} photos"):
        draw_dataset(folder, n, size, seed)
    typer.echo(f"{words.photos(n)} drawn in {folder}")


def _busy(text: str) -> "Status":
    return Console(stderr=True).status(text)


def _tell_unread(photos: Sequence[Path], out: Path) -> None:
    if photos:
        typer.echo(
            f"wheatear: photos that cannot be read, so taken for field photos of their own: {len(photos):,}; see "
            f"`wheatear data check`, mend them, take their rows out of {out} and split again",
            err=True,
        )


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
            Text(summary.name),
            *(f"{count:,}" for count in counts),
            *map(_range, (summary.heads, summary.sizes)),
        )
    return table


def _range(values: tuple[float, float, float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in values)


def _recipe_anchors(recipe: str) -> "np.ndarray":
    """(K, 2) widths and heights of a recipe's anchors in pixels of the photo. InputError without torch."""
    need_torch()
    import numpy as np

    from wheatear.train.recipe import load_recipe
    from wheatear.train.rescale import scale_factor

    settings = load_recipe(recipe)
    corners = np.concatenate([level.cell().numpy() for level in settings.rpn.anchors()])
    return (corners[:, 2:] - corners[:, :2]) / float(scale_factor(settings.image_size))


def _show_anchors(samples: "Sequence[Sample]", recipe: str | None, anchors: "np.ndarray | None") -> None:
    """How well fitted anchors, and a recipe's, overlap the boxes that a training would see; nothing without any."""
    import numpy as np

    from wheatear.data.anchor_fit import USUAL, best_iou, box_sides, fit_anchors

    sides = box_sides(samples)
    if not len(sides):
        return
    fitted = fit_anchors(sides, USUAL if anchors is None else len(anchors), np.random.default_rng(0))
    caption = f"IoU of {len(sides):,} boxes with the best anchor, middle on middle; sides in px of the photo."
    table = Table("anchors", caption=caption)
    for column in ("mean IoU", "IoU ≥ 0.5", "IoU ≥ 0.7"):
        table.add_column(column, justify="right")
    rows = {"fitted": fitted} | ({} if anchors is None else {str(recipe): anchors})
    for name, each in rows.items():
        ious = best_iou(sides, each)
        shares = [f"{(ious >= least).mean():.1%}" for least in (0.5, 0.7)]
        table.add_row(Text(name), f"{ious.mean():.3f}", *shares)
        typer.echo(f"anchors, {name}: {', '.join(f'{w:.0f}×{h:.0f}' for w, h in each)}")
    Console().print(table)


def _split_table(samples: Sequence["Sample"]) -> Table:
    table = Table("split")
    for column in ("field photos", "tiles", "boxes"):
        table.add_column(column, justify="right")
    for name in sorted({sample.split for sample in samples}):
        tiles = [sample for sample in samples if sample.split == name]
        counts = (len({tile.photo for tile in tiles}), len(tiles), sum(len(tile.boxes) for tile in tiles))
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table
