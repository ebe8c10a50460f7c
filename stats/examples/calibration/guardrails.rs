//! Guardrails: how often a healthy rollout is taken back, and how soon a harmful one is.

use stats::safety::rate_ratio::{Crossing, RateRatioState};

use crate::random::Random;
use crate::report::{Claim, Curve, Frame, Report, Row, plot};

const LOOKS: u64 = 250;
const USERS_PER_LOOK: u64 = 400;
const HEALTHY_RUNS: usize = 2_000;
const HARMFUL_RUNS: usize = 800;

/// A rollout to simulate.
#[derive(Clone, Copy)]
struct Rollout {
    name: &'static str,
    base_rate: f64,
    treatment_share: f64,
    ratio: f64,
    margin: f64,
    /// The look at which the harm starts.
    onset: u64,
    /// Whether the rate moves with the hour and rises eightfold in both arms for a while.
    incident: bool,
}

const HEALTHY: Rollout = Rollout {
    name: "1 %, half and half",
    base_rate: 0.01,
    treatment_share: 0.5,
    ratio: 1.0,
    margin: 0.0,
    onset: 0,
    incident: false,
};

/// Rollouts that must not be taken back.
const HEALTHY_SCENARIOS: [Rollout; 7] = [
    HEALTHY,
    Rollout {
        name: "0.1 %, half and half",
        base_rate: 0.001,
        ..HEALTHY
    },
    Rollout {
        name: "0.01 %, half and half",
        base_rate: 0.000_1,
        ..HEALTHY
    },
    Rollout {
        name: "1 %, 5 % canary",
        treatment_share: 0.05,
        ..HEALTHY
    },
    Rollout {
        name: "0.1 %, 5 % canary",
        base_rate: 0.001,
        treatment_share: 0.05,
        ..HEALTHY
    },
    Rollout {
        name: "hours and an incident in both arms",
        incident: true,
        ..HEALTHY
    },
    Rollout {
        name: "5 % more, margin 10 %",
        ratio: 1.05,
        margin: 0.1,
        ..HEALTHY
    },
];

impl Rollout {
    /// Users of both arms of one look and those of them newly affected, treatment first.
    fn look(&self, look: u64, random: &mut Random) -> ([u64; 2], [u64; 2]) {
        let treatment = (USERS_PER_LOOK as f64 * self.treatment_share).round() as u64;
        let control = USERS_PER_LOOK - treatment;
        let mut rate = self.base_rate;
        if self.incident {
            rate *= 1.0 + 0.5 * (look as f64 / 40.0).sin();
            if (100..110).contains(&look) {
                rate *= 8.0;
            }
        }
        let ratio = if look >= self.onset { self.ratio } else { 1.0 };
        let hits = [
            random.binomial(treatment, (rate * ratio).min(1.0)),
            random.binomial(control, rate),
        ];
        ([treatment, control], hits)
    }

    /// The first looks (from 1) at which each of the tests crossed.
    fn run(&self, alpha: f64, random: &mut Random) -> Crossed {
        let mut crossed = Crossed::default();
        let Ok(mut state) = RateRatioState::new(self.margin) else {
            return crossed;
        };
        let (log_one, log_looks) = (-alpha.ln(), (LOOKS as f64).ln());
        for look in 0..LOOKS {
            let ([treatment, control], [hits, control_hits]) = self.look(look, random);
            state.observe(
                treatment as f64 / (treatment + control) as f64,
                hits,
                control_hits,
            );
            state.end_look();
            let verdict = state.verdict(alpha, LOOKS);
            let now = look + 1;
            mark(&mut crossed.cumulative, state.max_log_e >= log_one, now);
            mark(
                &mut crossed.detector,
                state
                    .max_log_detector
                    .is_some_and(|log| log >= log_looks + log_one),
                now,
            );
            mark(&mut crossed.both, verdict.crossed, now);
            if verdict.by == Some(Crossing::Detector) && crossed.both == Some(now) {
                crossed.by_detector = true;
            }
        }
        crossed
    }
}

/// When a run crossed.
#[derive(Default, Clone, Copy)]
struct Crossed {
    cumulative: Option<u64>,
    detector: Option<u64>,
    both: Option<u64>,
    by_detector: bool,
}

/// When one of the tests crossed.
type CrossedAt = fn(&Crossed) -> Option<u64>;

/// The tests by name.
const TESTS: [(&str, CrossedAt); 3] = [
    ("cumulative", |run| run.cumulative),
    ("detector", |run| run.detector),
    ("verdict", |run| run.both),
];

fn mark(first: &mut Option<u64>, now_crossed: bool, look: u64) {
    if now_crossed && first.is_none() {
        *first = Some(look);
    }
}

/// All sections about guardrails; gives the plots by file name.
pub fn simulate(report: &mut Report) -> Vec<(&'static str, String)> {
    false_rollbacks(report);
    time_to_rollback(report);
    let plot = late_harm(report);
    clusters(report);
    vec![("late-harm.svg", plot)]
}

fn false_rollbacks(report: &mut Report) {
    report.say("## Guardrails: false rollbacks");
    report.say(
        "Affected users, 400 users a look, 250 looks, no difference between the arms unless said. \"Cumulative\" and \
         \"detector\" are each run with the whole error rate; \"verdict\" is what decides, half and half.",
    );
    let mut rows = Vec::new();
    for (index, scenario) in HEALTHY_SCENARIOS.iter().enumerate() {
        let mut random = Random::new(1_000 + index as u64);
        let runs: Vec<Crossed> = (0..HEALTHY_RUNS)
            .map(|_| scenario.run(0.05, &mut random))
            .collect();
        for (test, of) in TESTS {
            let hits = runs.iter().filter(|run| of(run).is_some()).count();
            rows.push(Row::new(
                format!("{}: {test}", scenario.name),
                Claim::AtMost(0.05),
                hits,
                runs.len(),
            ));
        }
    }
    let mut random = Random::new(1_999);
    let strict = (0..HEALTHY_RUNS)
        .filter(|_| HEALTHY.run(0.01, &mut random).both.is_some())
        .count();
    rows.push(Row::new(
        "1 %, half and half: verdict at alpha 0.01",
        Claim::AtMost(0.01),
        strict,
        HEALTHY_RUNS,
    ));
    report.claims(&rows);
}

/// The median number of users, and the share of runs that ended.
fn median_users(mut looks: Vec<Option<u64>>) -> String {
    let total = looks.len();
    looks.sort_by_key(|look| look.unwrap_or(u64::MAX));
    let found = looks.iter().flatten().count();
    let power = if found < total {
        format!(" ({:.2})", found as f64 / total as f64)
    } else {
        String::new()
    };
    match looks[total / 2] {
        Some(look) => format!("{}{power}", look * USERS_PER_LOOK),
        None => format!("more than {}{power}", LOOKS * USERS_PER_LOOK),
    }
}

fn time_to_rollback(report: &mut Report) {
    report.say("## Guardrails: users until a rollback");
    report.say("Harm from the start; the median over 800 runs, and in brackets the share of runs that found it where not all did.");
    let harmful = |base_rate: f64, ratio: f64, treatment_share: f64, name: &'static str| Rollout {
        name,
        base_rate,
        ratio,
        treatment_share,
        ..HEALTHY
    };
    let scenarios = [
        harmful(0.01, 1.2, 0.5, "1 % to 1.2 %"),
        harmful(0.01, 1.5, 0.5, "1 % to 1.5 %"),
        harmful(0.01, 2.0, 0.5, "1 % to 2 %"),
        harmful(0.01, 5.0, 0.5, "1 % to 5 %"),
        harmful(0.001, 2.0, 0.5, "0.1 % to 0.2 %"),
        harmful(0.001, 5.0, 0.5, "0.1 % to 0.5 %"),
        harmful(0.000_1, 100.0, 0.5, "0.01 % to 1 %"),
        harmful(0.01, 2.0, 0.05, "1 % to 2 %, 5 % canary"),
        harmful(0.01, 5.0, 0.05, "1 % to 5 %, 5 % canary"),
    ];
    let mut rows = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate() {
        let mut random = Random::new(2_000 + index as u64);
        let runs: Vec<Crossed> = (0..HARMFUL_RUNS)
            .map(|_| scenario.run(0.05, &mut random))
            .collect();
        let strict = (0..HARMFUL_RUNS)
            .map(|_| scenario.run(0.01, &mut random).both)
            .collect();
        rows.push(vec![
            scenario.name.to_owned(),
            median_users(runs.iter().map(|run| run.cumulative).collect()),
            median_users(runs.iter().map(|run| run.detector).collect()),
            median_users(runs.iter().map(|run| run.both).collect()),
            median_users(strict),
        ]);
    }
    report.table(
        &[
            "harm",
            "cumulative, 0.05",
            "detector, 0.05",
            "verdict, 0.05",
            "verdict, 0.01",
        ],
        &rows,
    );
}

fn late_harm(report: &mut Report) -> String {
    report.say("## Guardrails: harm that starts late");
    report.say("Healthy for 60 000 users, then affected more often; median users after the onset at alpha 0.05, and the share of runs taken back before it.");
    let onset = 150;
    let mut rows = Vec::new();
    let mut curves = Vec::new();
    for (index, (name, ratio)) in [("twice as often", 2.0), ("five times as often", 5.0)]
        .into_iter()
        .enumerate()
    {
        let scenario = Rollout {
            name,
            ratio,
            onset,
            ..HEALTHY
        };
        let mut random = Random::new(3_000 + index as u64);
        let runs: Vec<Crossed> = (0..HARMFUL_RUNS)
            .map(|_| scenario.run(0.05, &mut random))
            .collect();
        let mut row = vec![name.to_owned()];
        for (test, of) in TESTS {
            let after: Vec<Option<u64>> = runs
                .iter()
                .map(of)
                .filter(|look| look.is_none_or(|look| look > onset))
                .map(|look| look.map(|look| look - onset))
                .collect();
            let before = runs.len() - after.len();
            if index == 0 {
                let share = |look: u64| {
                    after.iter().flatten().filter(|found| **found <= look).count() as f64 / after.len() as f64
                };
                let points = (0..=LOOKS - onset)
                    .map(|look| [(look * USERS_PER_LOOK) as f64, share(look)])
                    .collect();
                curves.push(Curve { name: test, points });
            }
            row.push(format!(
                "{}; before {:.3}",
                median_users(after),
                before as f64 / runs.len() as f64
            ));
        }
        let by_detector = runs.iter().filter(|run| run.by_detector).count();
        row.push(format!("{:.2}", by_detector as f64 / runs.len() as f64));
        rows.push(row);
    }
    report.table(
        &[
            "harm",
            "cumulative",
            "detector",
            "verdict",
            "verdict came by the detector",
        ],
        &rows,
    );
    report.say("![Share of rollouts taken back by users after the onset](late-harm.svg)");
    let frame = Frame {
        title: "Affected twice as often after 60 000 healthy users: share taken back",
        x_label: "users after the onset",
        y_max: 1.0,
        mark: None,
    };
    plot(&frame, &curves)
}

/// Events of one user come together: counting them instead of users breaks an otherwise exact test.
fn clusters(report: &mut Report) {
    report.say("## Guardrails: why users are counted and not events");
    report.say("Ten requests a user, 1 % of the requests fail, no difference between the arms; users differ in their own rate, with the correlation within a user named.");
    let mut rows = Vec::new();
    for (index, correlation) in [0.02, 0.1, 0.3].into_iter().enumerate() {
        let mut random = Random::new(4_000 + index as u64);
        let runs = 300;
        let (mut by_events, mut by_users) = (0, 0);
        for _ in 0..runs {
            let [events, users] = clustered_run(correlation, &mut random);
            by_events += usize::from(events);
            by_users += usize::from(users);
        }
        rows.push(Row::new(
            format!("correlation {correlation}: affected users"),
            Claim::AtMost(0.05),
            by_users,
            runs,
        ));
        rows.push(Row::new(
            format!("correlation {correlation}: events"),
            Claim::Nothing,
            by_events,
            runs,
        ));
    }
    report.claims(&rows);
}

fn clustered_run(correlation: f64, random: &mut Random) -> [bool; 2] {
    const USERS: u64 = 20;
    let (Ok(mut events), Ok(mut users)) = (RateRatioState::new(0.0), RateRatioState::new(0.0)) else {
        return [false; 2];
    };
    let size = 1.0 / correlation - 1.0;
    for _ in 0..LOOKS {
        let (mut failed, mut affected) = ([0; 2], [0; 2]);
        for arm in 0..2 {
            for _ in 0..USERS {
                let rate = random.beta(0.01 * size, 0.99 * size);
                let failures = random.binomial(10, rate);
                failed[arm] += failures;
                affected[arm] += u64::from(failures > 0);
            }
        }
        events.observe(0.5, failed[0], failed[1]);
        users.observe(0.5, affected[0], affected[1]);
        events.end_look();
        users.end_look();
    }
    [events, users].map(|state| state.max_log_e >= 20.0_f64.ln())
}
