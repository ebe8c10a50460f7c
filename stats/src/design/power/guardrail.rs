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
