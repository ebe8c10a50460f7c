//! Intervals and p-values that are looked at again and again.

use stats::sequential::asymptotic::{Look, one_sided_half_width, two_sided};
use stats::sequential::bounded::{BettingSequence, empirical_bernstein, hoeffding};
use stats::sequential::group::bounds::bounds;
use stats::sequential::group::estimate::{Stopped, adjusted};
use stats::sequential::group::spending::Spending;
use stats::sequential::group::walk::Stop;
use stats::sequential::group::{Sides, classical};
use stats::sequential::{msprt, proportion, quantile, sample_ratio};

use crate::random::Random;
use crate::report::{Claim, Curve, Frame, Report, Row, plot};

const LOOKS: usize = 250;
const USERS_PER_LOOK: f64 = 400.0;
const RUNS: usize = 2_000;

type Failure = Box<dyn std::error::Error>;

/// All sections about looking repeatedly; gives the plots by file name.
pub fn simulate(report: &mut Report) -> Result<Vec<(&'static str, String)>, Failure> {
    let plot = differences(report)?;
    bounded_means(report)?;
    proportions_and_quantiles(report)?;
    traffic_shares(report)?;
    groups(report)?;
    Ok(vec![("peeking.svg", plot)])
}

/// Which of the tests has cried wolf in a run so far.
const TESTS: [&str; 4] = ["z at 1.96", "asymptotic sequence", "one-sided sequence", "mSPRT"];

fn differences(report: &mut Report) -> Result<String, Failure> {
    report.say("## Differences of means under 250 looks");
    report.say("Two arms, 400 users a look, no difference, exponential values. The sums of a look are drawn exactly, the sum of squares by itself with its normal error. A false alarm is one at any look.");
    let mut random = Random::new(10);
    let mut alarms = [[0_usize; 4]; LOOKS];
    for _ in 0..RUNS {
        let (mut difference, mut alarmed) = (0.0, [false; 4]);
        let (mut sum_of_squares, mut sum) = (0.0, 0.0);
        for (look, alarms) in alarms.iter_mut().enumerate() {
            // Sums of 200 exponential values per arm are gamma variables. Their squares have mean 2 and variance 20, and
            // are drawn as one normal sum per look, independent of the first: 200 million single draws are saved.
            let (one, two) = (random.gamma(200.0), random.gamma(200.0));
            difference += one - two;
            sum += one + two;
            sum_of_squares += 2.0 * USERS_PER_LOOK + (20.0 * USERS_PER_LOOK).sqrt() * random.normal();
            let units = (look + 1) as f64 * USERS_PER_LOOK;
            let variance = sum_of_squares / units - (sum / units).powi(2);
            let standard_error = 2.0 * (variance.max(0.1) / units).sqrt();
            let estimate = 2.0 * difference / units;
            let sequence = two_sided(
                Look {
                    estimate,
                    standard_error,
                    units,
                },
                10_000.0,
                0.05,
            )?;
            let margin = one_sided_half_width(standard_error, units, 10_000.0, 0.05)?;
            let msprt = msprt::look(estimate, standard_error * standard_error, 1e-3, 0.05)?;
            let now = [
                estimate.abs() > 1.96 * standard_error,
                sequence.p_value <= 0.05,
                estimate > margin,
                msprt.p_value <= 0.05,
            ];
            for (test, crossed) in now.into_iter().enumerate() {
                alarmed[test] |= crossed;
                alarms[test] += usize::from(alarmed[test]);
            }
        }
    }
    let rows: Vec<Row> = TESTS
        .iter()
        .enumerate()
        .map(|(test, name)| {
            let claim = if test == 0 {
                Claim::Nothing
            } else {
                Claim::AtMost(0.05)
            };
            Row::new(*name, claim, alarms[LOOKS - 1][test], RUNS)
        })
        .collect();
    report.claims(&rows);
    report.say("![False alarms by number of looks](peeking.svg)");
    let curve = |test: usize| Curve {
        name: TESTS[test],
        points: (0..LOOKS)
            .map(|look| [(look + 1) as f64, alarms[look][test] as f64 / RUNS as f64])
            .collect(),
    };
    let curves: Vec<Curve> = (0..4).map(curve).collect();
    let frame = Frame {
        title: "No effect: share of experiments with a false alarm so far",
        x_label: "looks",
        y_max: 0.5,
        mark: Some(0.05),
    };
    Ok(plot(&frame, &curves))
}

fn bounded_means(report: &mut Report) -> Result<(), Failure> {
    report.say("## Means of bounded values, looked at after every value");
    report.say("300 values from Beta(2, 6), mean ¼; a miss is an interval without the mean at any time.");
    let mut random = Random::new(11);
    let runs = 400;
    let mut misses = [0_usize; 3];
    for _ in 0..runs {
        let values: Vec<f64> = (0..300).map(|_| random.beta(2.0, 6.0)).collect();
        let mut betting = BettingSequence::new(0.05)?;
        let mut missed = false;
        for value in &values {
            betting.observe(*value)?;
            missed |= !betting.interval().contains(0.25);
        }
        misses[0] += usize::from(missed);
        misses[1] += usize::from(
            empirical_bernstein(&values, 0.05)?
                .iter()
                .any(|interval| !interval.contains(0.25)),
        );
        misses[2] += usize::from(
            hoeffding(&values, 0.05)?
                .iter()
                .any(|interval| !interval.contains(0.25)),
        );
    }
    let rows: Vec<Row> = ["betting", "empirical Bernstein", "Hoeffding"]
        .into_iter()
        .zip(misses)
        .map(|(name, misses)| Row::new(name, Claim::AtMost(0.05), misses, runs))
        .collect();
    report.claims(&rows);
    Ok(())
}

fn proportions_and_quantiles(report: &mut Report) -> Result<(), Failure> {
    report.say("## Proportions and quantiles, looked at 100 times");
    let mut random = Random::new(12);
    let runs = 600;
    let mut rows = Vec::new();
    for chance in [0.3, 0.01] {
        let mut misses = 0;
        for _ in 0..runs {
            let (mut hits, mut missed) = (0, false);
            for look in 1..=100 {
                hits += random.binomial(50, chance);
                missed |= !proportion::interval(hits, look * 50, 1_000.0, 0.05)?.contains(chance);
            }
            misses += usize::from(missed);
        }
        rows.push(Row::new(
            format!("proportion {chance}, beta–binomial sequence"),
            Claim::AtMost(0.05),
            misses,
            runs,
        ));
    }
    for q in [0.5, 0.95] {
        // Only how many values lie below the quantile matters, so that uniform values stand for all.
        let mut misses = 0;
        for _ in 0..runs {
            let (mut below, mut missed) = (0, false);
            for look in 1..=100_u64 {
                below += random.binomial(50, q);
                let ranks = quantile::ranks(look * 50, q, 1_000.0, 0.05)?;
                missed |= ranks.lower.is_some_and(|rank| rank > below)
                    || ranks.upper.is_some_and(|rank| rank <= below);
            }
            misses += usize::from(missed);
        }
        rows.push(Row::new(
            format!("quantile {q}, rank sequence"),
            Claim::AtMost(0.05),
            misses,
            runs,
        ));
    }
    report.claims(&rows);
    Ok(())
}

fn traffic_shares(report: &mut Report) -> Result<(), Failure> {
    report.say("## Sample-ratio mismatch under 250 looks");
    let mut random = Random::new(13);
    let mut alarms = [0_usize; 3];
    for _ in 0..RUNS {
        let (mut first, mut alarmed) = (0, [false; 3]);
        for look in 1..=LOOKS as u64 {
            first += random.binomial(400, 0.5);
            let counts = [first, look * 400 - first];
            let log = sample_ratio::evidence(&counts, &[1.0, 1.0], sample_ratio::DEFAULT_CONCENTRATION)?
                .log_bayes_factor;
            let z = (2.0 * first as f64 - (look * 400) as f64) / ((look * 400) as f64).sqrt();
            alarmed[0] |= log >= 20.0_f64.ln();
            alarmed[1] |= log >= 1_000.0_f64.ln();
            alarmed[2] |= z.abs() > 1.959_964;
        }
        for (count, alarmed) in alarms.iter_mut().zip(alarmed) {
            *count += usize::from(alarmed);
        }
    }
    report.claims(&[
        Row::new(
            "multinomial sequence, alpha 0.05",
            Claim::AtMost(0.05),
            alarms[0],
            RUNS,
        ),
        Row::new(
            "multinomial sequence, alpha 0.001",
            Claim::AtMost(0.001),
            alarms[1],
            RUNS,
        ),
        Row::new("chi-square at 0.05, repeated", Claim::Nothing, alarms[2], RUNS),
    ]);
    Ok(())
}

fn groups(report: &mut Report) -> Result<(), Failure> {
    report.say("## Group-sequential designs of five looks");
    report.say("Type I error without an effect; coverage of the stage-wise interval and median of the adjusted estimate with one.");
    let information = classical::equal_information(5);
    let mut rows = Vec::new();
    for (index, (name, spending)) in [
        ("O'Brien–Fleming spending", Spending::ObrienFleming),
        ("Pocock spending", Spending::Pocock),
        ("power spending", Spending::Power { rho: 2.0 }),
        (
            "Hwang–Shih–DeCani spending",
            Spending::HwangShihDecani { gamma: -4.0 },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stops: Vec<Stop> = bounds(&information, spending, 0.025, Sides::Two)?
            .iter()
            .map(|bound| bound.stop(Sides::Two))
            .collect();
        let mut random = Random::new(20 + index as u64);
        let crossed = (0..10_000)
            .filter(|_| trial(&information, &stops, 0.0, &mut random).1)
            .count();
        rows.push(Row::new(
            format!("{name}: type I error"),
            Claim::About(0.05),
            crossed,
            10_000,
        ));
        rows.extend(after_stopping(name, &information, &mut stops, &mut random)?);
    }
    report.claims(&rows);
    Ok(())
}

/// Coverage and bias of what is reported when a trial with an effect has stopped.
fn after_stopping(
    name: &str,
    information: &[f64],
    stops: &mut [Stop],
    random: &mut Random,
) -> Result<[Row; 3], Failure> {
    if let Some(last) = stops.last_mut() {
        *last = Stop {
            lower: Some(0.0),
            upper: Some(0.0),
        };
    }
    let (runs, drift) = (400, 2.0);
    let (mut covered, mut above, mut plain_above) = (0, 0, 0);
    for _ in 0..runs {
        let ((stopped_at, z), _) = trial(information, stops, drift, random);
        let standard_error = 1.0 / information[stopped_at].sqrt();
        let stopped = Stopped {
            information,
            stops,
            stopped_at,
            estimate: z * standard_error,
            standard_error,
        };
        let answer = adjusted(stopped, 0.05)?;
        covered += usize::from(answer.interval.contains(drift));
        above += usize::from(answer.median_unbiased > drift);
        plain_above += usize::from(answer.estimate > drift);
    }
    Ok([
        Row::new(
            format!("{name}: coverage after stopping"),
            Claim::About(0.95),
            covered,
            runs,
        ),
        Row::new(
            format!("{name}: adjusted estimate too large"),
            Claim::About(0.5),
            above,
            runs,
        ),
        Row::new(
            format!("{name}: plain estimate too large"),
            Claim::Nothing,
            plain_above,
            runs,
        ),
    ])
}

/// Where a trial stopped and with which Z, and whether it crossed a boundary there.
fn trial(information: &[f64], stops: &[Stop], drift: f64, random: &mut Random) -> ((usize, f64), bool) {
    let (mut score, mut before) = (0.0, 0.0);
    for (look, (fraction, stop)) in information.iter().zip(stops).enumerate() {
        let growth = fraction - before;
        score += drift * growth + growth.sqrt() * random.normal();
        before = *fraction;
        let z = score / fraction.sqrt();
        if stop.upper.is_some_and(|bound| z >= bound) || stop.lower.is_some_and(|bound| z <= bound) {
            return ((look, z), true);
        }
    }
    ((information.len() - 1, score / before.sqrt()), false)
}
