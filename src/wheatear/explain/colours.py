"""One colour, one meaning, on every picture: the palette of Okabe and Ito ("Color Universal Design", 2008).

Its colours are told apart by the colour-blind, too; where two meet, they also differ in line or place.
"""

TRUTH = "#0072B2"  # blue
START = "#D55E00"  # vermillion
FOUND = "#56B4E9"  # sky blue, as on the pictures of `wheatear count`
HEAD = "#009E73"  # bluish green
BACKGROUND = "#CC79A7"  # reddish purple
MISSED = "#E69F00"  # orange
IGNORED = "#999999"
WINDOW = "#F0E442"  # yellow
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
