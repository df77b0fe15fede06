"""What is constant across one drawn photo: ripeness, light, lean and camera, chosen at random once per photo."""

from dataclasses import dataclass, replace

import numpy as np

NATURAL_SIZE = 1024  # the photo size at which heads are as large as GWHD's (median box side 74 pixels)
OVERSAMPLE = 2  # painted this much larger, then averaged: smooth edges, and awns half a pixel wide

# Colours of GWHD photos, judged by eye, RGB 0-255 in full light: at flowering, at the milk stage, ripe.
HEAD_COLOURS = np.array([(196, 212, 160), (224, 228, 148), (240, 208, 142)], float)
LEAF_COLOURS = np.array([(98, 121, 90), (112, 134, 88), (130, 136, 84)], float)
STRAW_COLOUR = np.array((190, 172, 124), float)
SOIL_COLOUR = np.array((82, 70, 58), float)


@dataclass(frozen=True)
class Look:
    """The look of one photo.

    Lengths are pixels of the canvas (OVERSAMPLE times the photo); angles are radians from x (right) towards y
    (down); colours are (3,) RGB 0-255 in full light.

    canvas: its side. unit: canvas pixels per pixel of a NATURAL_SIZE photo.
    heads: how many are drawn; those hidden or beyond the edge get no box.
    head_length: of a medium head lying flat. awn_length: relative to the head's.
    lean, spread: mean direction of stems and heads, and its standard deviation.
    pitch: mean angle at which heads rise towards the camera.
    sun: (3,) unit vector towards the light, z towards the camera.
    straw_share: fraction of dried leaves. density: of leaves and stems; 1 is average.
    brightness: mean grey value of the photo. warmth: gain of red, and loss of blue. vignette: light lost
    towards the edges. blur: radius in pixels of the photo. grain: standard deviation of the sensor's noise,
    in grey values.
    """

    canvas: int
    unit: float
    heads: int
    head_length: float
    awn_length: float
    lean: float
    spread: float
    pitch: float
    sun: np.ndarray
    head_colour: np.ndarray
    leaf_colour: np.ndarray
    soil_colour: np.ndarray
    straw_share: float
    density: float
    brightness: float
    warmth: float
    vignette: float
    blur: float
    grain: float

    def scaled(self, factor: float) -> "Look":
        """The same look on a canvas `factor` times as large."""
        return replace(
            self,
            canvas=round(self.canvas * factor),
            unit=self.unit * factor,
            head_length=self.head_length * factor,
        )


def choose_look(rng: np.random.Generator, size: int, empty: bool) -> Look:
    """Choose at random the look of a photo of `size` pixels a side; `empty`: without heads."""
    unit = size / NATURAL_SIZE * OVERSAMPLE
    ripeness = rng.beta(0.8, 1.4)  # most photos of wheat heads are taken before they are ripe
    awned = rng.random() < 0.55
    return Look(
        canvas=size * OVERSAMPLE,
        unit=unit,
        heads=0 if empty else int(np.clip(rng.normal(48, 16), 12, 85)),
        head_length=rng.uniform(95, 150) * unit,
        awn_length=rng.uniform(0.5, 1.2) if awned else 0.13,  # awnless heads have short tips
        lean=rng.uniform(0, 2 * np.pi),
        spread=float(np.exp(rng.uniform(np.log(0.2), np.log(1.6)))),
        pitch=rng.uniform(0.1, 0.8),
        sun=_sun(rng),
        head_colour=_between(HEAD_COLOURS, ripeness) * rng.uniform(0.97, 1.03, 3),
        leaf_colour=_between(LEAF_COLOURS, ripeness) * rng.uniform(0.97, 1.03, 3),
        soil_colour=SOIL_COLOUR * rng.uniform(0.2, 0.75) * rng.uniform(0.96, 1.04, 3),
        straw_share=float(np.clip(0.9 * ripeness**1.5 + rng.uniform(-0.05, 0.15), 0.04, 0.85)),
        density=rng.uniform(0.75, 1.35),
        brightness=rng.uniform(62, 100),
        warmth=rng.normal(0, 0.045),
        vignette=rng.uniform(0.04, 0.2),
        blur=rng.uniform(0.15, 0.5) * unit / OVERSAMPLE,
        grain=rng.uniform(2, 5),
    )


def _sun(rng: np.random.Generator) -> np.ndarray:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.2)
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _between(colours: np.ndarray, ripeness: float) -> np.ndarray:
    stages = np.linspace(0, 1, len(colours))
    return np.array([np.interp(ripeness, stages, channel) for channel in colours.T])
