"""What `wheatear count` shows in the terminal: a progress bar while it works, a table at the end."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from wheatear.count import Count
from wheatear.folders import Folder, Sums
from wheatear.words import photos

SHOWN = 20  # photos listed on the screen, as many as fit without scrolling; the CSV has all of them


@dataclass
class Summary:
    """The first photos and the sums over all, however many there are. before: photos that an earlier run counted."""

    before: int = 0
    first: list[Count] = field(default_factory=list)
    counted: int = 0
    errors: list[str] = field(default_factory=list)  # a line for each photo that was not counted
    heads: int = 0
    resized: int = 0  # photos, as their heads seemed to call for it
    measured: int = 0  # photos counted whose ground area is known
    area_m2: float = 0.0

    def add(self, count: Count) -> None:
        if len(self.first) < SHOWN:
            self.first.append(count)
        self.errors += [count.error] if count.error else []
        self.counted += count.heads is not None
        self.heads += count.heads or 0
        self.resized += count.is_resized
        if count.area_m2 is not None:  # 0 where an image has no data, and so no heads
            self.measured += 1
            self.area_m2 += count.area_m2

    def show(self, folders: Mapping[str, Folder], plots: Sequence[Mapping[str, str]] = ()) -> None:
        """Print the photos, their total, the mean of each folder, and the plots.

        folders, plots: include an earlier run's photos. plots: rows of plots.csv, by column.
        """
        # When a run is resumed, those counted before may be the only ones with an area.
        has_area = self.area_m2 or plots or any(folder.measured.of for folder in folders.values())
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("Photo", overflow="fold")
        table.add_column("Heads", justify="right")
        table.add_column("Heads/m²" if has_area else "", justify="right")
        for count in self.first:
            table.add_row(_printable(count.name), _heads(count), _density(count.heads, count.area_m2))
        not_shown = self.counted + len(self.errors) - len(self.first)
        failed = len(self.errors) - sum(bool(count.error) for count in self.first)
        if more := not_shown - failed:
            table.add_row(f"… {more:,} more in counts.csv", "…", "")
        if failed:
            table.add_row(f"… {failed:,} more not counted", "–", "")
        table.add_section()
        if self.first:
            total = f"Total of {photos(self.counted)}" + (" counted now" if self.before else "")
            # If only some photos have an area, the density would be that of other photos than the heads beside it.
            area_m2 = self.area_m2 if self.measured == self.counted else None
            table.add_row(total, f"{self.heads:,}", _density(self.heads, area_m2), style="bold")
        for name, folder in islice(folders.items(), SHOWN):
            mean = f"mean of {photos(folder.per_photo.photos)}"
            title = Text(mean.capitalize()) if len(folders) == 1 else _printable(name) + f": {mean}"
            table.add_row(title, _mean(folder.per_photo, 1), _mean(folder.measured, 0))
        if (more := len(folders) - SHOWN) > 0:
            table.add_row(f"… {more:,} more folders in folders.csv", "…", "")
        table.add_section()
        for row in plots[:SHOWN]:
            area_m2 = float(row["area_m2"] or 0)
            title = _printable(f"Plot {row['plot']} in {row['image']}")
            table.add_row(title, f"{int(row['heads']):,}", _density(int(row["heads"]), area_m2))
        if (more := len(plots) - SHOWN) > 0:
            table.add_row(f"… {more:,} more plots in plots.csv", "…", "")
        Console().print(table)


@contextmanager
def progress_bar(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A progress bar on stderr -> (say, step): print a line above the bar; count one photo as done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("Counting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total, rate="")

        def step() -> None:
            progress.advance(bar)
            progress.update(bar, rate=f"{progress.tasks[0].speed or 0:.1f} photos/s")

        yield partial(console.print, markup=False, emoji=False, highlight=False, soft_wrap=True), step


def _printable(name: str) -> Text:
    # A file name may contain bytes that are not text, and brackets, which rich would take for markup.
    text = os.fsencode(name).decode(errors="replace")
    return Text("".join(letter if letter.isprintable() else "?" for letter in text))


def _heads(count: Count) -> str:
    return "not counted" if count.heads is None else f"{count.heads:,}"


def _density(heads: int | None, area_m2: float | None) -> str:
    return f"{heads / area_m2:,.0f}" if heads is not None and area_m2 else ""


def _mean(sums: Sums, digits: int) -> str:
    if not sums.of:
        return ""
    ends = sums.interval()
    interval = "" if ends is None else f" ({ends.low:,.{digits}f} – {ends.high:,.{digits}f})"
    return f"{sums.ratio():,.{digits}f}{interval}"
