//! A simulated product that asks the platform for its flag and sends what its users do, as a product in the field would.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use domain::rules::Context;
use domain::timestamp::MICROS_PER_SECOND;
use domain::{ExperimentKey, Timestamp, VariantKey};
use fixtures::simulation::SimulatedUser;
use fixtures::{Arm, SimulatedExperiment, Simulation, simulated_experiments};
use ingest::{CollectError, CollectRequest};
use query_api::RulesetHandle;

use crate::commands::platform::Platform;

/// The flag whose treatment does harm.
pub const FLAG: &str = "new_recommendations";
/// How often visits are made: small batches often, as many servers together would send them.
const TICK: Duration = Duration::from_millis(50);
/// A visit lasts up to two minutes and is told when it is over, so it began this long ago.
const VISIT_SECONDS: i64 = 120;
/// One visit in so many is a user who comes back.
const RETURN_EVERY: u32 = 5;
/// New users between a user's first visit and the return, as a multiple of [`RETURN_EVERY`] less one.
const RETURN_LAG: u32 = 100;

/// The product.
pub struct Product {
    simulation: Simulation,
    visits_per_second: u32,
    first_user: u32,
    visits: u32,
}

impl Product {
    /// A product whose users do what the seed says.
    pub fn new(seed: u64, visits_per_second: u32) -> anyhow::Result<Self> {
        let mut experiments = simulated_experiments(2, 0.2);
        experiments.push(SimulatedExperiment {
            key: ExperimentKey::new(FLAG)?,
            control: VariantKey::new("control")?,
            treatment: VariantKey::new("treatment")?,
            // The platform assigns this one.
            traffic_share: 0.0,
            treatment_share: 0.0,
            conversion_effect: 0.0,
            error_effect: 4.0,
        });
        let simulation = Simulation {
            experiments,
            conversion_rate: 0.1,
            error_rate: 0.02,
            crossover_share: 0.0,
            seed,
        };
        simulation.check()?;
        // Users of different seeds are different users; the low half of the seed is what differs between two runs.
        Ok(Self {
            simulation,
            visits_per_second,
            first_user: seed as u32,
            visits: 0,
        })
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.simulation.seed
    }

    /// How many users visit each second.
    pub fn visits_per_second(&self) -> u32 {
        self.visits_per_second
    }

    /// The experiment with a true effect.
    pub fn effect_experiment(&self) -> &ExperimentKey {
        &self.simulation.experiments[0].key
    }

    /// The A/A test.
    pub fn same_experiment(&self) -> &ExperimentKey {
        &self.simulation.experiments[1].key
    }

    /// Visits and sends until it is dropped.
    pub async fn run(&mut self, platform: &Platform) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let due = started.elapsed().as_secs_f64() * f64::from(self.visits_per_second);
            // After a pause, a second's visits at most: the rest did not come.
            let count = (due as u32)
                .saturating_sub(self.visits)
                .min(self.visits_per_second);
            if count > 0 {
                let now = (platform.now)();
                let body = self.visit(count, &platform.ruleset, now);
                self.send(platform, body).await?;
            }
        }
    }

    fn visit(&mut self, count: u32, ruleset: &RulesetHandle, now: Timestamp) -> Bytes {
        let began = now.plus_micros(-VISIT_SECONDS * MICROS_PER_SECOND);
        let mut body = Vec::new();
        for _ in 0..count {
            let (index, number) = self.next_visitor();
            let mut user = self.simulation.user(self.first_user.wrapping_add(index));
            ask_for_flag(&mut user, ruleset, now);
            for event in self.simulation.visit(&user, number, began) {
                body.extend_from_slice(event.line.as_bytes());
                body.push(b'\n');
            }
        }
        body.into()
    }

    /// The number of the next visitor and of the visit: mostly a first one, sometimes the return of somebody.
    fn next_visitor(&mut self) -> (u32, u32) {
        let (round, place) = (self.visits / RETURN_EVERY, self.visits % RETURN_EVERY);
        self.visits += 1;
        let new_each_round = RETURN_EVERY - 1;
        if place == new_each_round && round >= RETURN_LAG {
            return ((round - RETURN_LAG) * new_each_round, 1);
        }
        // The place of a return that nobody makes yet is taken by a user who is not seen again.
        let first_returns = u32::MAX / 2;
        match place == new_each_round {
            true => (first_returns + round, 0),
            false => (round * new_each_round + place, 0),
        }
    }

    async fn send(&self, platform: &Platform, body: Bytes) -> anyhow::Result<()> {
        loop {
            let request = CollectRequest {
                content_type: Some("application/x-ndjson"),
                content_encoding: None,
                body: body.clone(),
                received_at: (platform.now)(),
            };
            match platform.collector.collect(request).await {
                Ok(_) => return Ok(()),
                Err(CollectError::Busy {
                    retry_after_seconds, ..
                }) => {
                    tokio::time::sleep(Duration::from_secs(u64::from(retry_after_seconds))).await;
                }
                Err(error) => return Err(error).context("the simulated product cannot send its events"),
            }
        }
    }
}

/// Lets the platform decide which variation the user gets. Without a split there is nothing to measure and no exposure,
/// and everybody has what the flag gives.
fn ask_for_flag(user: &mut SimulatedUser, ruleset: &RulesetHandle, now: Timestamp) {
    let id = user.id();
    let attributes = serde_json::Map::new();
    let ruleset = ruleset.load();
    let decision = ruleset.evaluate(FLAG, &Context::from_json(&id, &attributes).with_now(now));
    let arm = match decision.value.as_bool() {
        Some(true) => Arm::Treatment,
        _ => Arm::Control,
    };
    // The flag is the last of the simulated experiments.
    if let Some(own) = user.arms.last_mut() {
        *own = decision.exposure.is_some().then_some(arm);
    }
}
