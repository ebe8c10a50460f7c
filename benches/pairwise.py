"""Times gbstats and this repository's `stats` on the same 10 000 comparisons of two means.

Run:  python3 -m venv venv && venv/bin/pip install gbstats
      cargo build --release -p stats --example pairwise
      venv/bin/python benches/pairwise.py target/release/examples/pairwise

Both answer the relative change with its 95 % t-interval and two-sided p-value, from sample sizes, means and variances that
are in memory. The seconds are those of the analyses alone, without reading input. The sums of all answers are compared
first, so that a difference in what was computed ends the run.
"""

import json
import random
import subprocess
import sys
import tempfile
import time

from gbstats.frequentist.tests import FrequentistConfig, TwoSidedTTest
from gbstats.models.statistics import SampleMeanStatistic

ANALYSES = 10_000
SEED = 20_240_601


def pairs():
    """Pairs of arms: revenue-like means with a true change of up to 10 %."""
    draw = random.Random(SEED)
    for _ in range(ANALYSES):
        mean, sd = draw.uniform(1, 100), draw.uniform(5, 200)
        arms = {}
        for arm, lift in (("control", 1.0), ("treatment", draw.uniform(0.9, 1.1))):
            n = draw.randrange(1_000, 100_000)
            arms[arm] = {"n": n, "mean": mean * lift + draw.gauss(0, sd) / n**0.5, "var": sd * sd * draw.uniform(0.9, 1.1)}
        yield arms


def statistic(arm):
    """The arm as sums, in which form gbstats takes it."""
    n, mean, variance = arm["n"], arm["mean"], arm["var"]
    return SampleMeanStatistic(n=n, sum=n * mean, sum_squares=variance * (n - 1) + n * mean * mean)


def run_gbstats(data):
    """The CPU seconds and the sums of gbstats' answers."""
    ready = [(statistic(pair["control"]), statistic(pair["treatment"])) for pair in data]
    config = FrequentistConfig(difference_type="relative")
    sums = {"change": 0.0, "width": 0.0, "p_value": 0.0}
    start = time.process_time()
    for control, treatment in ready:
        result = TwoSidedTTest(control, treatment, config).compute_result()
        sums["change"] += result.expected
        sums["width"] += result.ci[1] - result.ci[0]
        sums["p_value"] += result.p_value
    return time.process_time() - start, sums


def main():
    data = list(pairs())
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in data)
        file.flush()
        ours = json.loads(subprocess.run([sys.argv[1], file.name], check=True, capture_output=True, text=True).stdout)
    seconds, sums = run_gbstats(data)
    for name, value in sums.items():
        if abs(value - ours[name]) > 1e-6 * abs(value):
            sys.exit(f"the sums of {name} differ: {value} and {ours[name]}")
    print(f"{ANALYSES} analyses; the sums of changes, widths and p-values agree to 1e-6")
    print(f"gbstats  {seconds:.3f} s, {1e6 * seconds / ANALYSES:.1f} us each")
    print(f"stats    {ours['seconds']:.5f} s, {1e6 * ours['seconds'] / ANALYSES:.3f} us each")
    print(f"ratio    {seconds / ours['seconds']:.0f}")


if __name__ == "__main__":
    main()
