"""Reference values for test_distance.c: python3 reference_distance.py > data/distance.txt (needs scipy).

scipy.spatial.distance.jensenshannon is the square root of the divergence, so it is squared here.
"""
import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

rng = np.random.default_rng(20240209)


def line(values):
    print(" ".join(repr(float(v)) for v in values))


def histogram(p, q):
    p, q = np.asarray(p, float), np.asarray(q, float)
    a, b = p / p.sum(), q / q.sum()
    print("histogram", len(p))
    line(p)
    line(q)
    line([jensenshannon(a, b, base=2) ** 2, np.abs(a - b).sum() / 2, np.linalg.norm(np.sqrt(a) - np.sqrt(b)) / np.sqrt(2)])


def samples(u, v, u_weights=None, v_weights=None):
    print("samples", len(u), len(v))
    line(u)
    line(np.ones(len(u)) if u_weights is None else u_weights)
    line(v)
    line(np.ones(len(v)) if v_weights is None else v_weights)
    line([wasserstein_distance(u, v, u_weights, v_weights)])


histogram([1, 2, 3], [3, 2, 1])
histogram([5, 0, 0, 1], [0, 0, 7, 1])
histogram([1, 0], [0, 1])
for n in (2, 9, 40):
    histogram(rng.integers(0, 50, n) + (np.arange(n) == 0), rng.integers(0, 50, n) + (np.arange(n) == 1))
samples([0], [3])
samples([0, 1, 3], [5, 6, 8])
samples([-2, -1, 0.5], [-1, 4])
samples([1, 1, 2], [1, 2, 2, 9])
for n, m in ((7, 5), (30, 41)):
    samples(rng.normal(size=n).round(3), (2 * rng.normal(size=m) - 1).round(3))
samples(rng.lognormal(size=12).round(4), rng.lognormal(size=17).round(4), rng.integers(1, 9, 12), rng.integers(1, 9, 17))
samples(rng.integers(-3, 3, 25), 1e6 * rng.integers(-3, 3, 10))
