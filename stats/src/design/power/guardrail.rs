//! How soon the guardrail's e-process and e-detector alarm at a given harm: by seeded simulation.
//!
//! Each look exposes new users, of whom a Poisson number is affected in each arm; from the onset on the treatment's rate
//! is multiplied. The state that rollouts use judges each look.

use serde::Serialize;

use crate::error::{StatsError, check_not_negative, check_positive, check_rate};
use crate::random::{PoissonTable, SplitMix};
use crate::safety::rate_ratio::RateRatioState;

/// The most simulated looks of one call: two seconds of work.
pub const MAX_SIMULATED_LOOKS: u64 = 500_000;

/// Affected users of an arm in one look beyond which a table of their number grows without use.
const MOST_AFFECTED: f64 = 1e9;

/// A rollout that is to be simulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollout {
    /// The share of the control's users that are affected.
    pub rate_control: f64,
    /// The treatment's rate over the control's once harm has started.
    pub rate_ratio: f64,
    /// New users of both arms between two looks.
    pub units_per_look: f64,
    /// Planned looks.
    pub looks: u64,
    /// Looks before the harm starts.
    pub onset: u64,
    /// The treatment's share of users.
    pub share_treatment: f64,
    /// The harm that is tolerated.
    pub margin: f64,
    /// The error budget over all looks.
    pub alpha: f64,
    /// Simulated rollouts.
    pub experiments: u64,
    /// The seed; the same seed gives the same answer.
    pub seed: u64,
}

/// How soon the alarm comes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Alarms {
    /// The chance of an alarm within the planned looks.
    pub power: f64,
    /// Its Monte Carlo standard error.
    pub monte_carlo_error: f64,
    /// The chance of an alarm before the harm starts.
    pub false_alarms: f64,
    /// Users from the onset until half of the rollouts that reach it are stopped; absent when fewer are.
    pub median_units: Option<f64>,
    /// Users from the onset until nine in ten are stopped; absent when fewer are.
    pub ninetieth_units: Option<f64>,
}

/// Simulates rollouts.
///
/// # Errors
/// [`StatsError::TooLarge`] beyond [`MAX_SIMULATED_LOOKS`], or an input error.
pub fn simulate(rollout: &Rollout) -> Result<Alarms, StatsError> {
    check(rollout)?;
    let share = rollout.share_treatment;
    let control = rollout.units_per_look * (1.0 - share) * rollout.rate_control;
    let treatment = rollout.units_per_look * share * rollout.rate_control;
    let control = PoissonTable::new(control);
    let [healthy, harmed] = [treatment, treatment * rollout.rate_ratio].map(PoissonTable::new);
    let mut random = SplitMix::new(rollout.seed);
    let (mut early, mut stops) = (0_u64, Vec::new());
    for _ in 0..rollout.experiments {
        let mut state = RateRatioState::new(rollout.margin)?;
        for look in 0..rollout.looks {
            let affected = if look < rollout.onset { &healthy } else { &harmed };
            state.observe(share, affected.draw(&mut random), control.draw(&mut random));
            state.end_look();
            if state.verdict(rollout.alpha, rollout.looks).crossed {
                if look < rollout.onset {
                    early += 1;
                } else {
                    stops.push((look + 1 - rollout.onset) as f64 * rollout.units_per_look);
                }
                break;
            }
        }
    }
    stops.sort_by(f64::total_cmp);
    let experiments = rollout.experiments as f64;
    let reached = rollout.experiments - early;
    let after = |share: f64| {
        let rank = (share * reached as f64).ceil().max(1.0) as usize;
        stops.get(rank - 1).copied()
    };
    let power = (early as f64 + stops.len() as f64) / experiments;
    Ok(Alarms {
        power,
        monte_carlo_error: (power * (1.0 - power) / experiments).sqrt(),
        false_alarms: early as f64 / experiments,
        median_units: after(0.5),
        ninetieth_units: after(0.9),
    })
}

/// Halvings of the range in which a detectable ratio is looked for: it is then known to about one part in a thousand.
const HALVINGS: u64 = 12;

/// The smallest harm that is noticed with a wanted chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Detectable {
    /// The treatment's rate over the control's.
    pub rate_ratio: f64,
    /// What happens at it.
    #[serde(flatten)]
    pub alarms: Alarms,
}

/// The smallest rate ratio above 1 + margin at which the alarm comes within the planned looks with the chance `power`.
///
/// Every ratio is tried on the same stream of random numbers; the answer has the error of the simulation.
///
/// # Errors
/// As [`simulate`] for all the ratios tried together, and [`StatsError::NoSolution`] when even affecting every treatment user
/// is not noticed. The rollout's own ratio is not read.
pub fn detectable(rollout: &Rollout, power: f64) -> Result<Detectable, StatsError> {
    check_rate("power", power)?;
    check_rate("rate_control", rollout.rate_control)?;
    let at = |rate_ratio: f64| {
        let alarms = simulate(&Rollout {
            rate_ratio,
            ..*rollout
        })?;
        Ok::<_, StatsError>(Detectable { rate_ratio, alarms })
    };
    let looks = rollout.experiments.saturating_mul(rollout.looks);
    let all = looks.saturating_mul(HALVINGS + 1);
    if all > MAX_SIMULATED_LOOKS {
        return Err(StatsError::TooLarge {
            what: "the number of simulated looks over all ratios tried",
            size: all,
            limit: MAX_SIMULATED_LOOKS,
        });
    }
    let mut high = 1.0 / rollout.rate_control * (1.0 - 1e-12);
    let mut low = (1.0 + rollout.margin).min(high);
    let mut best = at(high)?;
    if best.alarms.power < power {
        return Err(StatsError::NoSolution {
            what: "the detectable rate ratio",
            why: "even affecting every treatment user is not noticed within the planned looks",
        });
    }
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        let found = at(middle)?;
        if found.alarms.power >= power {
            (high, best) = (middle, found);
        } else {
            low = middle;
        }
    }
    Ok(best)
}

fn check(rollout: &Rollout) -> Result<(), StatsError> {
    check_rate("rate_control", rollout.rate_control)?;
    check_positive("rate_ratio", rollout.rate_ratio)?;
    check_positive("units_per_look", rollout.units_per_look)?;
    check_rate("share_treatment", rollout.share_treatment)?;
    check_not_negative("margin", rollout.margin)?;
    check_rate("alpha", rollout.alpha)?;
    if rollout.rate_ratio * rollout.rate_control > 1.0 {
        return Err(StatsError::invalid(
            "rate_ratio",
            "must leave the treatment's rate at most 1",
        ));
    }
    if rollout.experiments == 0 || rollout.looks == 0 || rollout.onset >= rollout.looks {
        return Err(StatsError::invalid(
            "looks",
            "must be at least 1 and more than onset_look, as must experiments be at least 1",
        ));
    }
    let looks = rollout.experiments.saturating_mul(rollout.looks);
    if looks > MAX_SIMULATED_LOOKS || rollout.units_per_look > MOST_AFFECTED {
        return Err(StatsError::TooLarge {
            what: "the number of simulated looks",
            size: looks,
            limit: MAX_SIMULATED_LOOKS,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLOUT: Rollout = Rollout {
        rate_control: 0.01,
        rate_ratio: 2.0,
        units_per_look: 400.0,
        looks: 250,
        onset: 0,
        share_treatment: 0.5,
        margin: 0.0,
        alpha: 0.05,
        experiments: 400,
        seed: 1,
    };

    #[test]
    fn measured_delays_of_another_program_are_met() {
        // A simulation in Python of the same rule and rollout: 1 % to 2 % stops after 5 600 users in the median, and
        // after 8 800 when the harm starts after 60 000 healthy users. The median of 400 rollouts is known to about 6 %.
        let now = simulate(&ROLLOUT).unwrap();
        assert!(now.power > 0.99, "{now:?}");
        assert!(
            (now.median_units.unwrap() / 5_600.0 - 1.0).abs() < 0.15,
            "{now:?}"
        );
        let late = simulate(&Rollout {
            onset: 150,
            ..ROLLOUT
        })
        .unwrap();
        assert!(
            (late.median_units.unwrap() / 8_800.0 - 1.0).abs() < 0.15,
            "{late:?}"
        );
        assert!(late.false_alarms < 0.05);
    }

    #[test]
    fn a_healthy_rollout_stays_within_its_budget() {
        let healthy = Rollout {
            rate_ratio: 1.0,
            experiments: 1_000,
            ..ROLLOUT
        };
        let found = simulate(&healthy).unwrap();
        assert!(found.power <= 0.05, "{found:?}");
        assert_eq!(found.median_units, None);
        assert_eq!(simulate(&healthy).unwrap(), found);
    }

    #[test]
    fn the_detectable_ratio_is_noticed_and_a_smaller_one_less() {
        let rollout = Rollout {
            looks: 50,
            experiments: 300,
            ..ROLLOUT
        };
        let found = detectable(&rollout, 0.8).unwrap();
        assert!(
            found.alarms.power >= 0.8 && found.alarms.power < 0.86,
            "{found:?}"
        );
        let at = |rate_ratio: f64| {
            simulate(&Rollout {
                rate_ratio,
                seed: 77,
                ..rollout
            })
        };
        // On other random numbers the chance is what was asked for, within four errors of both simulations.
        let again = at(found.rate_ratio).unwrap();
        assert!(
            (again.power - 0.8).abs() < 4.0 * 2.0_f64.sqrt() * again.monte_carlo_error,
            "{again:?}"
        );
        assert!(at(1.0 + 0.7 * (found.rate_ratio - 1.0)).unwrap().power < 0.7);
        let tolerant = detectable(
            &Rollout {
                margin: 0.2,
                ..rollout
            },
            0.8,
        )
        .unwrap();
        assert!(tolerant.rate_ratio > found.rate_ratio);
        let few = Rollout {
            looks: 1,
            units_per_look: 2.0,
            ..rollout
        };
        assert!(matches!(
            detectable(&few, 0.8),
            Err(StatsError::NoSolution { .. })
        ));
        assert!(matches!(
            detectable(&ROLLOUT, 0.8),
            Err(StatsError::TooLarge { .. })
        ));
    }

    #[test]
    fn what_cannot_be_simulated_is_refused() {
        let many = Rollout {
            experiments: 1 << 40,
            ..ROLLOUT
        };
        assert!(matches!(simulate(&many), Err(StatsError::TooLarge { .. })));
        for wrong in [
            Rollout {
                rate_ratio: 101.0,
                ..ROLLOUT
            },
            Rollout {
                onset: 250,
                ..ROLLOUT
            },
            Rollout {
                share_treatment: f64::NAN,
                ..ROLLOUT
            },
        ] {
            assert!(matches!(simulate(&wrong), Err(StatsError::InvalidInput { .. })));
        }
    }
}
