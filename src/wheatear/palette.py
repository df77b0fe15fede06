"""Okabe and Ito's palette ("Color Universal Design", 2008), which colour-blind people can distinguish too.

Its colours are dark enough for white paper and light enough for black, except yellow, which is only for
photos.
"""

BLUE = "#0072b2"
VERMILLION = "#d55e00"
SKY_BLUE = "#56b4e9"
GREEN = "#009e73"
PURPLE = "#cc79a7"
ORANGE = "#e69f00"
YELLOW = "#f0e442"
