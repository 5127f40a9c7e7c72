"""Synthetic handwritten-like digits of MNIST's size, made from strokes; the same on every NumPy and every machine."""

import numpy as np

SIZE = 28

# Each digit as strokes through points (x, y) in the unit square, y downwards.
STROKES = {
    0: [[(0.5, 0.0), (0.9, 0.2), (0.9, 0.8), (0.5, 1.0), (0.1, 0.8), (0.1, 0.2), (0.5, 0.0)]],
    1: [[(0.3, 0.2), (0.55, 0.0), (0.55, 1.0)]],
    2: [[(0.1, 0.2), (0.5, 0.0), (0.9, 0.25), (0.1, 1.0), (0.9, 1.0)]],
    3: [[(0.1, 0.1), (0.6, 0.0), (0.9, 0.25), (0.45, 0.5), (0.9, 0.75), (0.6, 1.0), (0.1, 0.9)]],
    4: [[(0.65, 1.0), (0.65, 0.0), (0.1, 0.65), (0.9, 0.65)]],
    5: [[(0.85, 0.0), (0.2, 0.0), (0.15, 0.45), (0.6, 0.4), (0.9, 0.7), (0.6, 1.0), (0.1, 0.9)]],
    6: [[(0.8, 0.05), (0.3, 0.3), (0.1, 0.7), (0.5, 1.0), (0.9, 0.75), (0.5, 0.5), (0.15, 0.7)]],
    7: [[(0.1, 0.0), (0.9, 0.0), (0.4, 1.0)]],
    8: [
        [(0.5, 0.5), (0.15, 0.25), (0.5, 0.0), (0.85, 0.25), (0.5, 0.5)],
        [(0.5, 0.5), (0.1, 0.75), (0.5, 1.0), (0.9, 0.75), (0.5, 0.5)],
    ],
    9: [[(0.85, 0.3), (0.5, 0.5), (0.1, 0.25), (0.5, 0.0), (0.9, 0.3), (0.7, 1.0)]],
}


def make(count, seed):
    """Draw `count` digits: shifted, scaled, slanted, with wobbling strokes, noise and gaps.

    Returns:
        images (count, 28, 28) float32 in [0, 1], and labels (count,) int64.
    """
    random = np.random.RandomState(seed)
    labels = random.randint(0, 10, size=count)
    return np.stack([_draw(int(label), random) for label in labels]).astype(np.float32), labels.astype(np.int64)


def _draw(label, random):
    height, width = random.uniform(13, 19), random.uniform(10, 15)
    turn, slant = random.uniform(-0.25, 0.25), random.uniform(-0.25, 0.25)
    centre = np.array([13.5, 13.5]) + random.uniform(-3, 3, size=2)
    thickness = random.uniform(0.6, 1.3)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2)
    distance = np.full(len(pixels), np.inf)
    for stroke in STROKES[label]:
        points = np.array(stroke) - 0.5 + random.normal(0, 0.05, size=(len(stroke), 2))
        points[:, 0] -= slant * points[:, 1]
        points = (points * [width, height]).dot(rotation.T) + centre
        for place in range(1, len(points)):
            distance = np.minimum(distance, _to_segment(pixels, points[place - 1], points[place]))
    image = np.clip(thickness + 0.7 - distance, 0, 1).reshape(SIZE, SIZE)
    image = image * random.uniform(0.5, 1.0) * (random.uniform(size=image.shape) > 0.15)
    return np.clip(image + random.normal(0, 0.1, size=image.shape), 0, 1)


def _to_segment(pixels, start, end):
    along = end - start
    place = np.clip((pixels - start).dot(along) / max(along.dot(along), 1e-9), 0, 1)
    return np.linalg.norm(pixels - start - place[:, None] * along, axis=1)
