"""A diagram of layers in columns: boxes with the output shape of each, and arrows.

Heights are in lines (INCHES each), widths in widths of a box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from wheatear.explain.colours import INK
from wheatear.explain.drawing import bare, sheet

BOX, SHAPE, GAP = 0.42, 0.22, 0.36  # heights: of a box without shapes, of a shape, of the gap between boxes
PITCH = 1.2  # from one column to the next, in widths of a box
INCHES = 0.95  # per line
BREADTH = 3.6  # inches per column, with the space beside it


@dataclass(frozen=True)
class Layer:
    """A box of the diagram: an operation and the shapes that it outputs, one per line.

    beside: it does not follow from the box above; both are inputs of the next one.
    """

    name: str
    shapes: tuple[str, ...]
    colour: str
    beside: bool = False

    @property
    def height(self) -> float:
        """The height of its box."""
        return BOX + SHAPE * len(self.shapes)


@dataclass(frozen=True)
class Column:
    """A part of the network from top to bottom; `leaves` is the layer from which an arrow goes to the next column."""

    title: str
    layers: Sequence[Layer]
    leaves: str = ""

    def tops(self) -> list[float]:
        """The top of each box, and that of one that would follow the last."""
        tops = [0.0]
        for layer in self.layers:
            tops.append(tops[-1] + layer.height + GAP)
        return tops

    def leaves_at(self) -> float:
        """The middle of the layer from which the arrow goes to the next column."""
        i = [layer.name for layer in self.layers].index(self.leaves)
        return self.tops()[i] + self.layers[i].height / 2


def draw_columns(columns: Sequence[Column]) -> Figure:
    """The whole diagram, with its columns side by side."""
    depth = max(column.tops()[-1] for column in columns)
    figure, (axes,) = sheet(1, 1, (BREADTH * len(columns), INCHES * (depth + 0.4)))
    bare(axes)
    axes.set(xlim=(-0.05, (len(columns) - 1) * PITCH + 1.05), ylim=(depth, -0.5))
    for number, column in enumerate(columns):
        _draw_column(axes, number * PITCH, column)
        if column.leaves:
            entry = columns[number + 1].layers[0].height / 2
            _arrow(axes, (number * PITCH + 1, column.leaves_at()), ((number + 1) * PITCH, entry))
    return figure


def _draw_column(axes: Axes, left: float, column: Column) -> None:
    axes.text(left + 0.5, -0.25, column.title, ha="center", weight="bold")
    tops = column.tops()
    for i, (layer, top) in enumerate(zip(column.layers, tops, strict=False)):
        _draw_layer(axes, left, top, layer)
        if layer.beside:
            axes.text(left + 0.5, top - GAP / 2, "+", ha="center", va="center")
        elif i:
            _arrow(axes, (left + 0.5, top - GAP), (left + 0.5, top))


def _draw_layer(axes: Axes, left: float, top: float, layer: Layer) -> None:
    frame = FancyBboxPatch(
        (left, top),
        1,
        layer.height,
        boxstyle="round,pad=0,rounding_size=0.03",
        fc=to_rgba(layer.colour, 0.3),
        ec=INK,
    )
    axes.add_patch(frame)
    axes.text(left + 0.5, top + 0.2, layer.name, ha="center", va="center", fontsize=9)
    for i, shape in enumerate(layer.shapes):
        place = top + 0.45 + SHAPE * i
        axes.text(left + 0.5, place, shape, ha="center", va="center", fontsize=10, weight="bold")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
