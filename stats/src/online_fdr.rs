//! False-discovery control over a stream of experiments whose number nobody knows beforehand.
//!
//! Each experiment gets its own alpha when its turn comes, from what earlier ones left. The expected share of false
//! discoveries stays below the target at any time, for independent p-values. LORD++ (Ramdas, Yang, Wainwright and Jordan
//! 2017) needs nothing else; SAFFRON (Ramdas, Zrnic, Wainwright and Jordan 2018) does not pay for p-values that are large
//! anyway and has more power when many experiments have an effect.

use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_rate};

/// The most experiments of a stream: each looks back on all discoveries before it.
pub const MAX_TESTS: usize = 100_000;

/// How the alphas are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineRule {
    /// LORD++.
    LordPlusPlus,
    /// SAFFRON.
    Saffron {
        /// p-values above this cost nothing; one half is usual.
        lambda: f64,
    },
}

/// A stream of experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnlineFdr {
    rule: OnlineRule,
    target: f64,
    starting_wealth: f64,
    /// Experiments so far.
    tests: u64,
    /// Experiments so far with a p-value of at most lambda.
    candidates: u64,
    /// The number of experiments and of candidates when each discovery was made.
    discoveries: Vec<[u64; 2]>,
}

/// What became of one experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OnlineDecision {
    /// The alpha it was tested at.
    pub alpha: f64,
    /// Whether it is a discovery.
    pub discovered: bool,
}

impl OnlineFdr {
    /// A stream with the expected share of false discoveries at most `target`; half of it is there to start with.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when the target or lambda is not strictly between 0 and 1.
    pub fn new(rule: OnlineRule, target: f64) -> Result<Self, StatsError> {
        check_rate("target", target)?;
        if let OnlineRule::Saffron { lambda } = rule {
            check_rate("lambda", lambda)?;
        }
        Ok(Self {
            rule,
            target,
            starting_wealth: target / 2.0,
            tests: 0,
            candidates: 0,
            discoveries: Vec::new(),
        })
    }

    /// The alpha of the next experiment, fixed before its p-value is seen.
    pub fn next_alpha(&self) -> f64 {
        match self.rule {
            OnlineRule::LordPlusPlus => {
                let step = self.tests + 1;
                self.wealth(lord_share(step), |[tests, _]| lord_share(step - tests))
            }
            OnlineRule::Saffron { lambda } => {
                // Candidates since a discovery are free steps: time stands still for them.
                let since =
                    |tests: u64, candidates: u64| self.tests + 1 - tests - (self.candidates - candidates);
                let wealth = self.wealth(saffron_share(since(0, 0)), |[tests, candidates]| {
                    // The discovery itself was a candidate, and is counted among those at its time.
                    saffron_share(since(tests, candidates))
                });
                ((1.0 - lambda) * wealth).min(lambda)
            }
        }
    }

    /// What has been earned, spread over time: the start, then the first discovery, then all others in full.
    fn wealth(&self, since_start: f64, since: impl Fn([u64; 2]) -> f64) -> f64 {
        let mut wealth = self.starting_wealth * since_start;
        for (index, discovery) in self.discoveries.iter().enumerate() {
            let earned = if index == 0 {
                self.target - self.starting_wealth
            } else {
                self.target
            };
            wealth += earned * since(*discovery);
        }
        wealth
    }

    /// Takes the p-value of the next experiment.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] when it is not between 0 and 1, [`StatsError::TooLarge`] beyond [`MAX_TESTS`].
    pub fn observe(&mut self, p_value: f64) -> Result<OnlineDecision, StatsError> {
        if !(0.0..=1.0).contains(&p_value) {
            return Err(StatsError::invalid("p_value", "must lie between 0 and 1"));
        }
        if self.tests >= MAX_TESTS as u64 {
            return Err(StatsError::TooLarge {
                what: "the number of experiments",
                size: self.tests + 1,
                limit: MAX_TESTS as u64,
            });
        }
        let alpha = self.next_alpha();
        let discovered = p_value <= alpha;
        self.tests += 1;
        if matches!(self.rule, OnlineRule::Saffron { lambda } if p_value <= lambda) {
            self.candidates += 1;
        }
        if discovered {
            self.discoveries.push([self.tests, self.candidates]);
        }
        Ok(OnlineDecision { alpha, discovered })
    }
}

/// LORD's spending sequence, 0.0772·ln(max(j, 2)) / (j·e^√ln j): it adds up to 0.976, no more than there is.
fn lord_share(step: u64) -> f64 {
    let j = step.max(1) as f64;
    LORD_SCALE * j.max(2.0).ln() / (j * j.ln().sqrt().exp())
}

/// The scale of LORD's spending sequence that is used everywhere.
const LORD_SCALE: f64 = 0.077_208_38;

/// SAFFRON's spending sequence, j^−1.6 / ζ(1.6).
fn saffron_share(step: u64) -> f64 {
    /// ζ(1.6).
    const TOTAL: f64 = 2.285_765_665_212_43;
    (step.max(1) as f64).powf(-1.6) / TOTAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: OnlineRule, p_values: &[f64]) -> Vec<OnlineDecision> {
        let mut stream = OnlineFdr::new(rule, 0.05).unwrap();
        p_values.iter().map(|p| stream.observe(*p).unwrap()).collect()
    }

    const RULES: [OnlineRule; 2] = [OnlineRule::LordPlusPlus, OnlineRule::Saffron { lambda: 0.5 }];

    #[test]
    fn without_discoveries_the_alphas_never_spend_more_than_the_start() {
        for rule in RULES {
            let spent: f64 = run(rule, &[0.9; 5_000])
                .iter()
                .map(|decision| decision.alpha)
                .sum();
            assert!(spent < 0.0251 && spent > 0.005, "{rule:?} {spent}");
        }
    }

    #[test]
    fn the_estimated_share_of_false_discoveries_stays_below_the_target() {
        // What must never change: the alphas spent over the discoveries made, the quantity that both rules hold down.
        let p_values: Vec<f64> = (0..400)
            .map(|k| {
                if k % 7 < 3 {
                    1e-6
                } else {
                    f64::from(k * 37 % 100) / 100.0
                }
            })
            .collect();
        for rule in RULES {
            let (mut cost, mut discoveries) = (0.0, 0.0_f64);
            for (decision, p) in run(rule, &p_values).iter().zip(&p_values) {
                cost += match rule {
                    OnlineRule::LordPlusPlus => decision.alpha,
                    OnlineRule::Saffron { lambda } if *p > lambda => decision.alpha / (1.0 - lambda),
                    OnlineRule::Saffron { .. } => 0.0,
                };
                discoveries += f64::from(u8::from(decision.discovered));
                assert!(
                    cost / discoveries.max(1.0) <= 0.05 + 1e-9,
                    "{rule:?} {cost} {discoveries}"
                );
            }
            assert!(discoveries > 100.0);
        }
    }

    #[test]
    fn a_discovery_raises_the_next_alpha_and_a_stored_stream_goes_on() {
        for rule in RULES {
            let mut stream = OnlineFdr::new(rule, 0.05).unwrap();
            stream.observe(0.8).unwrap();
            let before = stream.next_alpha();
            assert!(stream.observe(1e-9).unwrap().discovered && stream.next_alpha() > before);
            let stored: OnlineFdr = serde_json::from_str(&serde_json::to_string(&stream).unwrap()).unwrap();
            assert!((stored.next_alpha() - stream.next_alpha()).abs() < 1e-12);
            assert!(stream.observe(f64::NAN).is_err() && stream.observe(1.1).is_err());
        }
        assert!(OnlineFdr::new(RULES[0], 0.0).is_err());
    }

    #[test]
    fn spending_sequences_add_up_to_one_at_most() {
        let saffron: f64 = (1..200_000).map(saffron_share).sum();
        // The tail beyond N of j^-1.6 is N^-0.6/0.6.
        assert!(
            (saffron + 200_000.0_f64.powf(-0.6) / 0.6 / 2.285_765_665_212_43 - 1.0).abs() < 1e-6,
            "{saffron}"
        );
        let steps = 100_000_u64;
        let lord: f64 = (1..steps).map(lord_share).sum();
        // The tail beyond N is 2c·Γ(4, s) with s = √ln N.
        let s = ((steps as f64) - 0.5).ln().sqrt();
        let tail = 2.0 * LORD_SCALE * (-s).exp() * (s * s * s + 3.0 * s * s + 6.0 * s + 6.0);
        assert!((lord + tail - 0.976_3).abs() < 1e-3, "{}", lord + tail);
    }
}
