"""One colour, one meaning, in every picture; colours that meet also differ in line style or position."""

from wheatear.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION, YELLOW

TRUTH = BLUE
START = VERMILLION
FOUND = SKY_BLUE  # as in the pictures of `wheatear count`
HEAD = GREEN
BACKGROUND = PURPLE
MISSED = ORANGE
IGNORED = "#999999"
WINDOW = YELLOW
INK = "#000000"
RIM = "#0A121C"

# matplotlib's cividis, from blue to yellow, was designed to look nearly the same with and without colour blindness.
HEAT = "cividis"

MEANINGS = (
    (TRUTH, "a head as labelled"),
    (START, "where the network starts: an anchor, a region"),
    (FOUND, "where it ends: a moved box, a detection"),
    (HEAD, "head: snip, foreground anchor, hit"),
    (BACKGROUND, "no head: snip, background anchor, false alarm"),
    (MISSED, "a head that was missed"),
    (WINDOW, "the pixels that something looks at"),
    (IGNORED, "left out"),
)
