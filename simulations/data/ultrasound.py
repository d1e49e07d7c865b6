"""Draws one B-mode picture: layers of tissue and a lesion as echo levels in decibel, speckle, log compression.

Speckle is the magnitude of correlated complex Gaussian noise (Rayleigh; Wagner et al. 1983, section II); a lesion
weakens or strengthens the echoes below it in proportion to the path through it. Lengths are shares of the side.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter1d

Plane = NDArray[np.float32]

REFERENCE_SIDE = 128
"""Pixels to which speckle widths refer."""
NOISE_FLOOR = 0.06
"""Power relative to the mean that fills the nulls of the speckle, as compounding does in a scanner."""


@dataclasses.dataclass(frozen=True)
class Scanner:
    """A make of scanner.

    Args:
        share: Of patients examined with it.
        dynamic_range: Decibel between black and white.
        gain: Decibel added before compression.
        attenuation: Decibel lost from top to bottom.
        axial, lateral: Widths of the speckle in pixels of a 128 px image.
    """

    name: str
    share: float
    dynamic_range: float
    gain: float
    attenuation: float
    axial: float
    lateral: float


@dataclasses.dataclass(frozen=True)
class Lesion:
    """A lesion as a distorted ellipse.

    Args:
        x, y: Centre; y runs down.
        radius: Of the disc of the same area.
        aspect: Height over width; above 1 is taller than wide.
        tilt: Radians.
        lobes: Relative size of the coarse waves of the margin.
        spicules: Relative length of thin spikes.
        blur: Relative width of the margin.
        posterior: Decibel added to the echoes below; negative is a shadow.
        echo: Decibel relative to the tissue around.
        shape_seed: Draws the phases of lobes and spicules.
    """

    x: float
    y: float
    radius: float
    aspect: float
    tilt: float
    lobes: float
    spicules: float
    blur: float
    posterior: float
    echo: float
    shape_seed: int


def draw_image(lesion: Lesion, scanner: Scanner, side: int, generator: np.random.Generator) -> Plane:
    """Returns float32 (side, side) in [0, 1]."""
    excess = _excess(lesion, side)
    inside = _sigmoid(-excess / lesion.blur)
    level = _tissue(side, generator)
    level += inside * (lesion.echo + 0.45 * (-8.0 - level)) + _rim(excess, lesion)
    level += _posterior(inside, lesion, side)
    level -= scanner.attenuation * np.linspace(0, 1, side, dtype=np.float32)[:, None] ** 1.5
    level += _speckle(side, scanner, generator)
    picture: Plane = np.clip((level + scanner.gain) / scanner.dynamic_range, 0, 1).astype(np.float32)
    return picture


def draw_mask(lesion: Lesion, side: int) -> Plane:
    """Returns float32 (side, side), 1 inside the lesion and 0 elsewhere."""
    mask: Plane = (_excess(lesion, side) < 0).astype(np.float32)
    return mask


def _excess(lesion: Lesion, side: int) -> Plane:
    """Returns the distance from the margin over the radius in that direction: -1 at the centre, 0 on the margin."""
    ticks = (np.arange(side, dtype=np.float32) + 0.5) / side
    right, down = ticks[None, :] - lesion.x, ticks[:, None] - lesion.y
    cosine, sine = np.cos(lesion.tilt), np.sin(lesion.tilt)
    width, height = lesion.radius / np.sqrt(lesion.aspect), lesion.radius * np.sqrt(lesion.aspect)
    across, along = (right * cosine + down * sine) / width, (down * cosine - right * sine) / height
    angle = np.arctan2(along, across)
    phases = np.random.default_rng(lesion.shape_seed)
    margin = np.ones_like(angle)
    for waves in (2, 3, 5):
        margin += lesion.lobes * phases.normal() * np.cos(waves * angle + phases.uniform(0, 2 * np.pi))
    if lesion.spicules > 0:
        spikes, phase = phases.integers(4, 9), phases.uniform(0, 2 * np.pi)
        bent = angle + 0.8 * np.sin(angle + phase)
        reach = 0.6 + 0.4 * np.cos(2 * angle - phase) * np.sin(3 * angle + phase)
        margin += 3 * lesion.spicules * reach * (0.5 + 0.5 * np.cos(spikes * bent + phase)) ** 4
    excess: Plane = (np.hypot(across, along) / np.maximum(margin, 0.35) - 1).astype(np.float32)
    return excess


def _tissue(side: int, generator: np.random.Generator) -> Plane:
    """Returns echo levels of skin, fat, gland, fascia and muscle in decibel."""
    across = np.linspace(0, 1, side, dtype=np.float32)
    depth = across[:, None]
    skin = generator.uniform(0.03, 0.06)
    gland = np.float32(generator.uniform(0.12, 0.24)) + _wave(across, 0.025, generator)
    muscle = np.float32(generator.uniform(0.70, 0.88)) + _wave(across, 0.02, generator)
    in_gland, in_muscle = _sigmoid((depth - gland) / 0.015), _sigmoid((depth - muscle) / 0.01)
    level = -15 + generator.normal(7, 2) * in_gland * (1 - in_muscle)
    level = level + _streaks(side, 5.0, (0.012, 0.07), generator) * (0.5 + 0.5 * in_gland)
    level += _streaks(side, 3.0, (0.05, 0.10), generator)
    level += _streaks(side, 3.0, (0.008, 0.25), generator) * in_muscle
    for border, width, height in ((gland, 0.010, 5.0), (muscle, 0.009, 9.0)):
        level += height * np.exp(-(((depth - border) / width) ** 2))
    level += 10 * _sigmoid((skin - depth) / 0.006)
    return np.asarray(level, dtype=np.float32)


def _wave(across: Plane, height: float, generator: np.random.Generator) -> Plane:
    waves = [generator.normal(0, height) * np.sin(n * np.pi * across + generator.uniform(0, 6.28)) for n in (1, 2, 4)]
    return np.asarray(sum(waves), dtype=np.float32)


def _streaks(side: int, height: float, widths: tuple[float, float], generator: np.random.Generator) -> Plane:
    noise = generator.standard_normal((side, side), dtype=np.float32)
    smooth = _smooth(noise, widths[0] * side, widths[1] * side)
    streaks: Plane = smooth * np.float32(height / smooth.std())
    return streaks


def _rim(excess: Plane, lesion: Lesion) -> Plane:
    """Returns the bright border: a thin capsule around a sharp margin, a broad halo around a blurred one."""
    width = 0.07 + lesion.blur
    rim: Plane = 4.0 * np.exp(-(((excess - 1.2 * width) / width) ** 2))
    return rim


def _posterior(inside: Plane, lesion: Lesion, side: int) -> Plane:
    chord = 2 * lesion.radius * np.sqrt(lesion.aspect) * side
    path = np.cumsum(inside, axis=0) / chord
    blurred = gaussian_filter1d(path, 0.015 * side, axis=1, mode="nearest")
    below: Plane = lesion.posterior * blurred * (1 - inside)
    return below


def _speckle(side: int, scanner: Scanner, generator: np.random.Generator) -> Plane:
    scale = side / REFERENCE_SIDE
    noise = generator.standard_normal((2, side, side), dtype=np.float32)
    smooth = _smooth(noise, scanner.axial * scale, scanner.lateral * scale)
    power = np.square(smooth).sum(axis=0)
    speckle: Plane = 10 * np.log10(power / power.mean() + NOISE_FLOOR)
    return speckle


def _smooth(noise: Plane, down: float, across: float) -> Plane:
    """Returns the noise (..., side, side) convolved with a Gaussian of these widths in pixels, edges wrapped."""
    smooth: Plane = irfft2(rfft2(noise) * _transfer(noise.shape[-1], down, across), s=noise.shape[-2:])
    return smooth


@lru_cache(maxsize=64)
def _transfer(side: int, down: float, across: float) -> Plane:
    rows, columns = fftfreq(side)[:, None] * down, rfftfreq(side)[None, :] * across
    transfer: Plane = np.exp(-2 * np.pi**2 * (rows**2 + columns**2)).astype(np.float32)
    return transfer


def _sigmoid(values: NDArray[np.floating]) -> Plane:
    sigmoid: Plane = (0.5 * (1 + np.tanh(0.5 * values))).astype(np.float32)
    return sigmoid
