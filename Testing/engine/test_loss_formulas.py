"""Every loss against its formula, written out voxel by voxel in plain numbers: random rows, and the cases at the edge.

The references share no code with the losses. Sections are those of the methods' specifications in docs/methods.
"""

import math
from itertools import product

import numpy as np
import pytest
import torch

from contrastiveseg.contrast.balanced_contrast import balanced_contrast
from contrastiveseg.contrast.correspondence import dense_contrast
from contrastiveseg.contrast.dimensions import dimension_contrast
from contrastiveseg.contrast.label_contrast import label_contrast
from contrastiveseg.contrast.queue import KeyQueue, instance_contrast
from contrastiveseg.methods.aligned import point_contrast
from contrastiveseg.methods.cvrl import voxel_contrast
from contrastiveseg.methods.macl import equivariance
from contrastiveseg.methods.segmentation_loss import cross_entropy, dice_cross_entropy, squared_dice

#: Temperatures: the usual one, and one at which similarities reach 100 and their exponentials 1e43.
TEMPERATURES = (0.1, 0.01)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def cosines(rows: torch.Tensor, keys: torch.Tensor) -> list[list[float]]:
    """By the definition: product over lengths."""
    return [
        [
            sum(a * b for a, b in zip(row, key, strict=True)) / (math.hypot(*row) * math.hypot(*key))
            for key in keys.tolist()
        ]
        for row in rows.tolist()
    ]


def log_sum(values: list[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(v - highest) for v in values))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def check(loss, expected: float, *leaves: torch.Tensor, tolerance: float = 1e-9) -> None:
    """``loss(*leaves)`` in float64, then in float32 within bfloat16's autocast; gradients are numbers."""
    for dtype, bound in ((torch.float64, tolerance), (torch.float32, 1e-4)):
        given = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            found = loss(*given)
        assert found.item() == pytest.approx(expected, abs=bound, rel=bound)
        gradients = torch.autograd.grad(found, given, allow_unused=True)
        assert all(g is None or torch.isfinite(g).all() for g in gradients)
        if expected == 0:
            assert all(g is None or g.abs().max() < bound for g in gradients)


# MCSC, section 2.3, and synthetic labels, section 5


def balanced_terms(rows: torch.Tensor, classes: list[int], temperature: float) -> list[float]:
    s = [[c / temperature for c in row] for row in cosines(rows, rows)]
    terms = []
    for i, own in enumerate(classes):
        positives = [j for j, c in enumerate(classes) if c == own and j != i]
        if positives:
            means = []
            for c in set(classes):
                members = [s[i][j] for j, other in enumerate(classes) if other == c and j != i]
                means.append(log_sum(members) - math.log(len(members)))
            terms.append(log_sum(means) - mean([s[i][j] for j in positives]))
    return terms


def test_the_golden_terms_of_mcscs_specification():
    angles = torch.tensor([0, 10, 20, 90, 100, 200], dtype=torch.float64) * math.pi / 180
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    terms = balanced_terms(rows, [0, 0, 0, 1, 1, 2], 0.1)
    assert terms == pytest.approx([0.025267, 0.000176, 0.026399, 0.000658, 0.000130], abs=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(
    "classes",
    [
        [0, 0, 1, 1, 2, 0, 2, 0],
        [3] * 5,  # one class alone
        [0, 0, 0, 7, 0],  # one of a single voxel
        [4, 2, 0],  # no positives
        [5, 5],
    ],
)
def test_balanced_contrast(classes, temperature):
    rows = normal(len(classes), 3)
    expected = mean(balanced_terms(rows, classes, temperature))
    check(lambda r: balanced_contrast(r, torch.tensor(classes), temperature), expected, rows, tolerance=1e-8)


# MixCL, section 3


def label_terms(rows: torch.Tensor, labels: list[int], sets: list[int], temperature: float) -> list[float]:
    s = [[c / temperature for c in row] for row in cosines(rows, rows)]
    terms = []
    for i, own in enumerate(labels):
        compared = [k for k, y in enumerate(labels) if k != i and y >= 0 and sets[k] == sets[i]]
        positives = [k for k in compared if labels[k] == own]
        if own > 0 and positives:
            terms.append(mean([log_sum([s[i][k] for k in compared]) - s[i][j] for j in positives]))
    return terms


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(
    ("labels", "sets"),
    [
        ([0, 1, 1, 2, -1, 2, 0, 1, 2, 1], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ([1] * 6, [0] * 6),
        ([0, 0, 3, 1, 1], [0] * 5),
        ([1, 2, 0, 3], [0] * 4),
        ([1, 1], [0, 1]),
        ([-1] * 4, [0] * 4),
        ([0] * 4, [0] * 4),
    ],
)
def test_label_contrast(labels, sets, temperature):
    rows = normal(len(labels), 3, seed=1)
    expected = mean(label_terms(rows, labels, sets, temperature))
    check(lambda r: label_contrast(r, torch.tensor(labels), torch.tensor(sets), temperature), expected, rows)


# MixCL, section 3, and CVRL, section 2.2: images against a queue


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize(
    ("ids", "past"), [((0, 1, 0, 2), (2, 5, 0)), ((3, 3), (3, 3)), ((0, 1), ()), ((0,), (4, 4)), ((0,), ())]
)
def test_instance_contrast(ids, past, in_batch, temperature):
    anchors, keys, queued = (torch.nn.functional.normalize(normal(n, 3, seed=n), dim=1) for n in (len(ids), 9, 8))
    keys = keys[: len(ids)]
    queue = KeyQueue(6, 3).double()  # the places that are not filled hold zeros, which no anchor may see
    queue.push(queued[: len(past)], torch.tensor(past, dtype=torch.long))
    own, old = cosines(anchors, keys), cosines(anchors, queued)
    terms = []
    for i, volume in enumerate(ids):
        negatives = [own[i][k] for k, other in enumerate(ids) if in_batch and other != volume]
        negatives += [old[i][k] for k, other in enumerate(past) if other != volume]
        terms.append(log_sum([v / temperature for v in (own[i][i], *negatives)]) - own[i][i] / temperature)
    given = torch.tensor(ids)
    check(lambda a: instance_contrast(a, keys.to(a), given, queue.to(a), temperature, in_batch), mean(terms), anchors)


# CVRL, sections 2.3 and 2.4


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", ["random", "large", "constant column", "short column", "fewer rows than columns"])
def test_dimension_contrast(kind, temperature):
    shape = (4, 6) if kind == "fewer rows than columns" else (12, 4)
    first = normal(*shape) * (1e3 if kind == "large" else 1) + 5
    second = first + normal(*shape, seed=3)
    if kind == "constant column":
        first[:, 1] = 2.0
    if kind == "short column":
        first[:, 1] = 1e-7 * normal(12)  # shorter than the smallest length that columns are divided by

    def columns(rows: torch.Tensor) -> list[list[float]]:
        centered = [[v - mean(column) for v in column] for column in rows.T.tolist()]
        return [[v / max(math.hypot(*column), 1e-6) for v in column] for column in centered]

    a, b = columns(first), columns(second)
    s = [[sum(x * y for x, y in zip(m, n, strict=True)) / temperature for n in b] for m in a]
    width = range(len(s))
    one = mean([log_sum(s[m]) - s[m][m] for m in width])
    other = mean([log_sum([s[n][m] for n in width]) - s[m][m] for m in width])
    check(lambda x, y: dimension_contrast(x, y, temperature, symmetric=False), one, first, second)
    check(lambda x, y: dimension_contrast(x, y, temperature), (one + other) / 2, first, second)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("cases", [(0, 1), (0, 0), (0,)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_voxel_contrast(dimensions, cases, temperature):
    count, places = len(cases), 5
    rows, keys = normal(count, places, 3), normal(count, places, 3, seed=1)
    voxels = integers(0, 16, count, places, dimensions)
    s = cosines(rows.flatten(0, 1), keys.flatten(0, 1))
    where, crop = voxels.flatten(0, 1).tolist(), [c for c in range(count) for _ in range(places)]
    terms = []
    for i, j in product(range(len(s)), repeat=2):
        if i == j:
            terms.append([s[i][i] / temperature])
    for i, term in enumerate(terms):
        for j in range(len(s)):
            if j == i or (crop[i] != crop[j] and cases[crop[i]] == cases[crop[j]]):
                continue
            far = max(abs(a - b) for a, b in zip(where[i], where[j], strict=True)) >= 8
            if crop[i] != crop[j] or far:
                term.append(s[i][j] / temperature)
    expected = mean([log_sum(term) - term[0] for term in terms])
    check(lambda r, k: voxel_contrast(r, k, voxels, torch.tensor(cases), 8, temperature), expected, rows, keys)


# IDEAL, section 3


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 2), (5, 1)])
@pytest.mark.parametrize("radius", [0, 1])
@pytest.mark.parametrize("others", [0, 4])
def test_dense_contrast(grid, radius, others, temperature):
    cells = math.prod(grid)
    queries, keys, strangers = normal(2, 5, 3), normal(2, cells, 3, seed=1), normal(2, others, 3, seed=2)
    match = integers(-1, cells, 2, 5)
    match[1, 2] = -1
    allowed = integers(0, 2, 2, others, seed=4).bool()
    place = list(product(*map(range, grid)))
    terms = []
    for n, i in product(range(2), range(5)):
        positive = int(match[n, i])
        if positive < 0:
            continue
        s = cosines(queries[n, i : i + 1], keys[n])[0]
        compared = [s[positive]]
        for j in range(cells):
            steps = max(abs(a - b) for a, b in zip(place[j], place[positive], strict=True))
            if j != positive and steps > radius:
                compared.append(s[j])
        for j, stranger in enumerate(cosines(queries[n, i : i + 1], strangers[n])[0] if others else []):
            if allowed[n, j]:
                compared.append(stranger)
        terms.append(log_sum([v / temperature for v in compared]) - s[positive] / temperature)
    check(
        lambda q, k, o: dense_contrast(q, k, match, o, grid, temperature, radius, allowed),
        mean(terms),
        queries,
        keys,
        strangers,
    )


# Aligned, section 2


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("hidden", [(), (1, 4), tuple(range(6))])
def test_point_contrast(hidden, temperature):
    first, second = (torch.nn.functional.normalize(normal(2, 3, 4, seed=s), dim=-1) for s in (0, 1))
    seen, apart = torch.ones(6, dtype=torch.bool), integers(0, 2, 6, 6).bool()
    seen[list(hidden)] = False
    s = cosines(first.flatten(0, 1), second.flatten(0, 1))
    both = []
    for table in (s, [list(column) for column in zip(*s, strict=True)]):
        terms = []
        for i in range(6):
            if seen[i]:
                compared = [table[i][j] for j in range(6) if j == i or (seen[j] and apart[i, j])]
                terms.append(log_sum([v / temperature for v in compared]) - table[i][i] / temperature)
        both.append(mean(terms))
    check(lambda a, b: point_contrast(a, b, seen, apart, temperature), mean(both), first, second)


# MACL, section 3: L_ER


@pytest.mark.parametrize("norm", ["channel", "none"])
@pytest.mark.parametrize(("shape", "factor"), [((4, 6), (2, 3)), ((4, 6, 2), (2, 2, 1))])
def test_equivariance(shape, factor, norm):
    small_shape = [n // f for n, f in zip(shape, factor, strict=True)]
    small, deep = normal(2, 3, *small_shape), normal(2, 3, *shape, seed=1)

    def between(values: np.ndarray, place: list[float]) -> np.ndarray:
        """Linear between the voxels around ``place``, one axis after the other."""
        for position in place:
            low = min(int(position), len(values) - 1)
            high = min(low + 1, len(values) - 1)
            values = values[low] * (1 - (position - low)) + values[high] * (position - low)
        return values

    differences = []
    for n in range(2):
        voxels = deep[n].movedim(0, -1).numpy()
        for cell in product(*map(range, small_shape)):
            # The outermost cells lie on the outermost voxels.
            place = [c * (full - 1) / max(m - 1, 1) for c, full, m in zip(cell, shape, small_shape, strict=True)]
            theirs, ours = between(voxels, place), small[(n, slice(None), *cell)].numpy()
            if norm == "channel":
                theirs, ours = theirs / math.hypot(*theirs), ours / math.hypot(*ours)
            differences += np.abs(theirs - ours).tolist()
    check(lambda s, d: equivariance(s, d, factor, norm), mean(differences), small, deep)


# Dice and cross-entropy


def voxel_probabilities(logits: torch.Tensor, missing: torch.Tensor | None) -> list[list[list[float]]]:
    """[crop][voxel][class]; structures that were not looked for are part of the background."""
    found = []
    for b, crop in enumerate(logits.flatten(2).tolist()):
        voxels = []
        for values in zip(*crop, strict=True):
            total = log_sum(list(values))
            p = [math.exp(v - total) for v in values]
            for c in range(1, len(p)):
                if missing is not None and missing[b, c]:
                    p[0], p[c] = p[0] + p[c], 0.0
            voxels.append(p)
        found.append(voxels)
    return found


def by_hand(logits, labels, weights, region, missing) -> tuple[float, float, float]:
    """Cross-entropy, Dice of the structures that occur, squared Dice of all classes with background."""
    classes, smooth = logits.shape[1], 1e-5
    voxels = [
        (p, y)
        for crop, wanted, inside in zip(
            voxel_probabilities(logits, missing), labels.flatten(1).tolist(), region.flatten(1).tolist(), strict=True
        )
        for p, y, counts in zip(crop, wanted, inside, strict=True)
        if y >= 0 and counts
    ]
    total = math.fsum(weights[y] for _, y in voxels)
    entropy = math.fsum(-weights[y] * math.log(p[y]) for p, y in voxels) / total if voxels else 0.0
    dice, squared = [], []
    for c in range(classes):
        both = math.fsum(p[c] for p, y in voxels if y == c)
        predicted, wanted = math.fsum(p[c] for p, _ in voxels), sum(y == c for _, y in voxels)
        if c and wanted:
            dice.append(1 - (2 * both + smooth) / (predicted + wanted + smooth))
        squares = math.fsum(p[c] ** 2 for p, _ in voxels)
        squared.append(1 - (2 * both + smooth) / (squares + wanted + smooth))
    return entropy, mean(dice), mean(squared)


@pytest.mark.parametrize("grid", [(3, 4), (2, 3, 2)])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("kind", ["random", "one class", "one voxel of a class", "ignored", "not looked for", "region"])
def test_dice_and_cross_entropy(kind, scale, grid):
    logits, labels = scale * normal(2, 4, *grid), integers(0, 4, 2, *grid)
    weights, region, missing = [1.0, 4.0, 1.0, 2.0], torch.ones_like(labels, dtype=torch.bool), None
    if kind == "one class":
        labels[:] = 2
    elif kind == "one voxel of a class":
        labels[labels == 3] = 0
        labels[1, -1, -1] = 3
    elif kind == "ignored":
        labels[integers(0, 2, 2, *grid, seed=1).bool()] = -1
    elif kind == "not looked for":
        missing = torch.tensor([[False, False, True, True], [False] * 4])
        labels[0][labels[0] > 1] = 0
        labels[1, 0, 0] = -1
    elif kind == "region":
        region = integers(0, 2, 2, *grid, seed=1).bool()
    entropy, dice, squared = by_hand(logits, labels, weights, region, missing)
    given = torch.tensor(weights)
    both = entropy + dice
    check(lambda x: dice_cross_entropy(x, labels, given, region, missing), both, logits, tolerance=1e-5)
    check(lambda x: squared_dice(x, labels, region, missing), squared, logits, tolerance=1e-5)
    if kind != "region":
        check(lambda x: cross_entropy(x, labels, given, missing), entropy, logits, tolerance=1e-5)
