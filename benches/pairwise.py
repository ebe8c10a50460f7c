"""Times gbstats and this repository's `stats` on the same 10 000 comparisons of two means.

Run:  python3 -m venv venv && venv/bin/pip install gbstats
      cargo build --release -p stats --example pairwise
      venv/bin/python benches/pairwise.py target/release/examples/pairwise

Two comparisons, both from numbers in memory, without reading input. The bare test: the relative change with its 95 %
t-interval and two-sided p-value; the sums of all answers are compared, so that a difference in what was computed ends the
run. The whole analysis, each side by its own front door: `process_single_metric` (one relative t-test and the sample ratio)
and `analyze` (absolute and relative, once and at every look, the sample ratio, adjusted p-values, a decision).
"""

import json
import random
import subprocess
import sys
import tempfile
import time

from gbstats.gbstats import process_single_metric
from gbstats.models.settings import AnalysisSettingsForStatsEngine, MetricSettingsForStatsEngine
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


def run_front_door(data):
    """The CPU seconds of gbstats' own analysis of one metric, rows in and results out."""
    metric = MetricSettingsForStatsEngine(id="m", name="m", statistic_type="mean", main_metric_type="count")
    plan = AnalysisSettingsForStatsEngine(
        var_names=["control", "treatment"], var_ids=["0", "1"], weights=[0.5, 0.5], stats_engine="frequentist"
    )
    ready = []
    for pair in data:
        rows = []
        for variation, name in enumerate(("control", "treatment")):
            arm = statistic(pair[name])
            rows.append({
                "dimension": "", "variation": str(variation), "users": arm.n, "count": arm.n,
                "main_sum": arm.sum, "main_sum_squares": arm.sum_squares,
            })
        ready.append(rows)
    start = time.process_time()
    for rows in ready:
        process_single_metric(rows, metric, [plan])
    return time.process_time() - start


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
    print(f"bare test: gbstats {seconds:.3f} s, {1e6 * seconds / ANALYSES:.1f} us each")
    print(f"bare test: stats {ours['seconds']:.5f} s, {1e6 * ours['seconds'] / ANALYSES:.3f} us each")
    print(f"bare test: ratio {seconds / ours['seconds']:.0f}")
    whole = run_front_door(data)
    print(f"whole analyses: gbstats {whole:.1f} s, {1e3 * whole / ANALYSES:.2f} ms each;"
          f" stats {ours['whole_seconds']:.4f} s, {1e6 * ours['whole_seconds'] / ANALYSES:.2f} us each;"
          f" ratio {whole / ours['whole_seconds']:.0f}")


if __name__ == "__main__":
    main()
