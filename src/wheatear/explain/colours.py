"""One colour, one meaning, on every picture; where two meet, they also differ in line or place."""

from wheatear.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION, YELLOW

TRUTH = BLUE
START = VERMILLION
FOUND = SKY_BLUE  # as on the pictures of `wheatear count`
HEAD = GREEN
BACKGROUND = PURPLE
MISSED = ORANGE
IGNORED = "#999999"
WINDOW = YELLOW
INK = "#000000"
RIM = "#0A121C"

# matplotlib's cividis runs from blue to yellow and was made to look the same to all eyes.
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
