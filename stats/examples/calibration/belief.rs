//! Bayesian intervals, online false-discovery control, and power, against what they promise.

use stats::bayes::arms::{compare_pair, difference_quantile};
use stats::bayes::conjugate::beta_binomial;
use stats::design::sequential::{Target, Watching, confidence_sequence_design};
use stats::online_fdr::{OnlineFdr, OnlineRule};
use stats::sequential::asymptotic::two_sided_critical_value;
use stats::special::normal;

use crate::random::Random;
use crate::report::{Claim, Report, Row};

type Failure = Box<dyn std::error::Error>;

/// All sections of this file.
pub fn simulate(report: &mut Report) -> Result<(), Failure> {
    posteriors(report)?;
    discoveries(report)?;
    power(report)
}

fn posteriors(report: &mut Report) -> Result<(), Failure> {
    report.say("## Bayesian comparisons when the prior is true");
    report.say("Both rates drawn from Beta(2, 18), 150 and 100 trials.");
    let mut random = Random::new(40);
    let runs = 1_500;
    let (mut covered, mut below_tenth, mut wins_when_sure, mut sure) = (0, 0, 0, 0);
    for _ in 0..runs {
        let rates = [random.beta(2.0, 18.0), random.beta(2.0, 18.0)];
        let control = beta_binomial(random.binomial(150, rates[0]), 150, [2.0, 18.0])?;
        let treatment = beta_binomial(random.binomial(100, rates[1]), 100, [2.0, 18.0])?;
        let difference = rates[1] - rates[0];
        let [low, high] = [0.025, 0.975].map(|p| difference_quantile(&control, &treatment, p));
        covered += usize::from((low?..=high?).contains(&difference));
        below_tenth += usize::from(difference <= difference_quantile(&control, &treatment, 0.1)?);
        let better = compare_pair(&control, &treatment)?.treatment_better;
        if (0.8..0.9).contains(&better) {
            sure += 1;
            wins_when_sure += usize::from(difference > 0.0);
        }
    }
    report.claims(&[
        Row::new(
            "95 % credible interval of the difference",
            Claim::About(0.95),
            covered,
            runs,
        ),
        Row::new(
            "difference below its 10 % quantile",
            Claim::About(0.1),
            below_tenth,
            runs,
        ),
        Row::new(
            "treatment better when the chance to win was 0.8 to 0.9",
            Claim::About(0.85),
            wins_when_sure,
            sure,
        ),
    ]);
    Ok(())
}

fn discoveries(report: &mut Report) -> Result<(), Failure> {
    report.say("## Online false-discovery control");
    report.say("300 experiments, one in five with an effect of 3 standard errors. The measured share of false discoveries is its mean over the runs, each with its own share, so that ± is an upper limit.");
    let mut rows = Vec::new();
    for (index, (name, rule)) in [
        ("LORD++", OnlineRule::LordPlusPlus),
        ("SAFFRON", OnlineRule::Saffron { lambda: 0.5 }),
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random::new(50 + index as u64);
        let runs = 1_000;
        let (mut false_share, mut found, mut effects) = (0.0, 0, 0);
        for _ in 0..runs {
            let mut stream = OnlineFdr::new(rule, 0.05)?;
            let (mut wrong, mut right) = (0, 0);
            for _ in 0..300 {
                let real = random.uniform() < 0.2;
                let z = random.normal() + if real { 3.0 } else { 0.0 };
                let discovered = stream.observe(normal::sf(z))?.discovered;
                right += usize::from(discovered && real);
                wrong += usize::from(discovered && !real);
                effects += usize::from(real);
            }
            found += right;
            false_share += wrong as f64 / (wrong + right).max(1) as f64;
        }
        rows.push(Row::new(
            format!("{name}: false among discoveries"),
            Claim::AtMost(0.05),
            false_share.round() as usize,
            runs,
        ));
        rows.push(Row::new(
            format!("{name}: effects found"),
            Claim::Nothing,
            found,
            effects,
        ));
    }
    report.claims(&rows);
    Ok(())
}

fn power(report: &mut Report) -> Result<(), Failure> {
    report.say("## Power of the anytime-valid interval");
    report.say("Designed for a power of 0.8 with the looks named; simulated as the path of Z.");
    let mut rows = Vec::new();
    for (index, looks) in [1_u32, 10, 100].into_iter().enumerate() {
        let watching = Watching {
            looks: looks as usize,
            planned_share: 1.0,
        };
        let design = confidence_sequence_design(
            watching,
            Target {
                alpha: 0.05,
                power: 0.8,
            },
        )?;
        let mut random = Random::new(60 + index as u64);
        let runs = 4_000;
        let twice = -2.0 * 0.05_f64.ln();
        let factor = twice + twice.ln_1p();
        let found = (0..runs).filter(|_| {
            let step = 1.0 / f64::from(looks);
            let mut score = 0.0;
            (1..=looks).any(|look| {
                score += design.drift * step + step.sqrt() * random.normal();
                let t = f64::from(look) * step;
                score / t.sqrt() > two_sided_critical_value(t * factor, 0.05)
            })
        });
        let found = found.count();
        rows.push(Row::new(
            format!(
                "{looks} looks, {:.2} times the units of a fixed test",
                design.inflation_factor
            ),
            Claim::About(0.8),
            found,
            runs,
        ));
    }
    report.claims(&rows);
    Ok(())
}
