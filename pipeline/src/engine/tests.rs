//! The engine against a reference that knows all events at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::metric::MeasurementPlan;
use domain::{EventKind, PartitionId, Position, Timestamp};
use ingest::{EventBatch, EventRecord, Span};
use proptest::prelude::*;

use super::*;
use crate::dedup::RunName;

const SECOND: i64 = 1_000_000;

#[derive(Debug, Clone, PartialEq)]
struct Given {
    id: u64,
    ts: i64,
    user: u8,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Exposure { experiment: u8, variant: u8 },
    Track { event: u8, value: f64 },
}

#[derive(Default)]
struct Runs(HashMap<RunName, Vec<u128>>);

impl RunLookup for Runs {
    fn contains(&mut self, run: RunName, key: u128) -> Result<bool, PipelineError> {
        Ok(self.0[&run].binary_search(&key).is_ok())
    }
}

fn batch(events: &[Given]) -> EventBatch {
    let mut batch = EventBatch {
        partition: PartitionId("test:0".into()),
        end: Position::End,
        buffer: Vec::new(),
        events: Vec::new(),
        rejections: Vec::new(),
    };
    for event in events {
        let mut keep = |text: String| {
            let start = batch.buffer.len() as u32;
            batch.buffer.extend_from_slice(text.as_bytes());
            Span {
                start,
                length: text.len() as u32,
            }
        };
        let (id, user) = (format!("e{:06}", event.id), format!("u{}", event.user));
        let (id_key, user_hash) = (
            ingest::decode::id_key(id.as_bytes()),
            ingest::decode::user_hash(user.as_bytes()),
        );
        let (kind, name, variant, value) = match &event.what {
            What::Exposure { experiment, variant } => (
                EventKind::Exposure,
                keep(format!("x{experiment}")),
                keep(format!("v{variant}")),
                0.0,
            ),
            What::Track { event, value } => (
                EventKind::Track,
                keep(format!("m{event}")),
                Span::default(),
                *value,
            ),
        };
        let (event_id, user_id) = (keep(id), keep(user));
        batch.events.push(EventRecord {
            kind,
            ts: Timestamp(event.ts * SECOND),
            received_at: Timestamp(event.ts * SECOND),
            event_id,
            user_id,
            name,
            variant,
            value,
            properties: Span::default(),
            id_key,
            user_hash,
        });
    }
    batch
}

type WindowKey = (i64, i32, String, String, String);

/// What the engine should know: windows as (units, Σx), summaries as (exposed, units, Σx), crossovers.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    windows: BTreeMap<WindowKey, (u64, i64)>,
    summaries: BTreeMap<(String, String, String), (u64, u64, i64)>,
    exposures: BTreeMap<(String, String), (String, i64, bool)>,
}

/// Sums of quarters are exact, so they are compared as whole numbers.
fn quarters(sum: f64) -> i64 {
    (sum * 4.0).round() as i64
}

fn reference(events: &[Given]) -> Truth {
    let mut seen = BTreeSet::new();
    let unique: Vec<&Given> = events.iter().filter(|event| seen.insert(event.id)).collect();
    let mut truth = Truth::default();
    let mut firsts = Firsts::new();
    for event in &unique {
        if let What::Exposure { experiment, variant } = event.what {
            let first = firsts
                .entry((experiment, event.user))
                .or_insert((event.ts, event.id, variant, false));
            first.3 |= first.2 != variant;
            if (event.ts, event.id) < (first.0, first.1) {
                (first.0, first.1, first.2) = (event.ts, event.id, variant);
            }
        }
    }
    let mut windows: BTreeMap<WindowKey, BTreeMap<u8, f64>> = BTreeMap::new();
    let mut totals = Totals::new();
    let names: BTreeSet<u8> = unique
        .iter()
        .filter_map(|event| match event.what {
            What::Track { event, .. } => Some(event),
            What::Exposure { .. } => None,
        })
        .collect();
    for ((experiment, user), (first, _, variant, crossover)) in &firsts {
        let key = (format!("x{experiment}"), format!("u{user}"));
        truth
            .exposures
            .insert(key, (format!("v{variant}"), *first, *crossover));
        for event in unique
            .iter()
            .filter(|event| event.user == *user && event.ts >= *first)
        {
            let What::Track { event: name, value } = event.what else {
                continue;
            };
            for seconds in WINDOW_SECONDS {
                let start = event.ts.div_euclid(i64::from(seconds)) * i64::from(seconds);
                let key = (
                    start,
                    seconds,
                    format!("x{experiment}"),
                    format!("v{variant}"),
                    format!("m{name}"),
                );
                *windows.entry(key).or_default().entry(*user).or_default() += value;
            }
            if !crossover {
                *totals
                    .entry((*experiment, *variant, name))
                    .or_default()
                    .entry(*user)
                    .or_default() += value;
            }
        }
    }
    for (key, users) in windows {
        truth
            .windows
            .insert(key, (users.len() as u64, quarters(users.values().sum())));
    }
    truth.summaries = reference_summaries(&firsts, &names, &totals);
    truth
}

type Firsts = BTreeMap<(u8, u8), (i64, u64, u8, bool)>;
type Totals = BTreeMap<(u8, u8, u8), BTreeMap<u8, f64>>;

fn reference_summaries(
    firsts: &Firsts,
    names: &BTreeSet<u8>,
    totals: &Totals,
) -> BTreeMap<(String, String, String), (u64, u64, i64)> {
    let mut summaries = BTreeMap::new();
    for ((experiment, _), (_, _, variant, _)) in firsts {
        let of_arm = |((other, _), (_, _, arm, crossover)): &(&(u8, u8), &(i64, u64, u8, bool))| {
            *other == *experiment && arm == variant && !crossover
        };
        let exposed = firsts.iter().filter(of_arm).count() as u64;
        for name in names {
            let users = totals.get(&(*experiment, *variant, *name));
            let (units, sum) = users.map_or((0, 0), |users| {
                (users.len() as u64, quarters(users.values().sum()))
            });
            let key = (
                format!("x{experiment}"),
                format!("v{variant}"),
                format!("m{name}"),
            );
            summaries.insert(key, (exposed, units, sum));
        }
    }
    summaries.retain(|_, (exposed, ..)| *exposed > 0);
    summaries
}

/// Keeps derived rows as a table would.
#[derive(Default)]
struct Tables {
    truth: Truth,
}

impl Tables {
    fn take(&mut self, derived: Derived) {
        for row in derived
            .windows
            .into_iter()
            .filter(|row| !row.metric.ends_with("_conversion"))
        {
            let key = (
                row.start.0 / SECOND,
                row.seconds,
                row.experiment,
                row.variant,
                row.metric,
            );
            if row.moments.n == 0 {
                self.truth.windows.remove(&key);
            } else {
                self.truth.windows.insert(
                    key,
                    (row.moments.n, quarters(row.moments.mean * row.moments.n as f64)),
                );
            }
        }
        for row in derived
            .summaries
            .into_iter()
            .filter(|row| !row.metric.ends_with("_conversion"))
        {
            let sum = quarters(row.moments.mean * row.exposed as f64);
            self.truth.summaries.insert(
                (row.experiment, row.variant, row.metric),
                (row.exposed, row.units, sum),
            );
        }
        for day in derived.replaced_exposure_days {
            self.truth
                .exposures
                .retain(|_, (_, ts, _)| Timestamp(*ts * SECOND).day() != day);
        }
        for row in derived.exposures {
            let value = (row.variant, row.ts.0 / SECOND, row.crossover);
            self.truth.exposures.insert((row.experiment, row.user_id), value);
        }
    }
}

fn history_of(events: &[Given], user: &str) -> Vec<HistoryEvent> {
    let mut seen = BTreeSet::new();
    let own = events
        .iter()
        .filter(|event| seen.insert(event.id) && format!("u{}", event.user) == user);
    own.map(|event| {
        let ts = Timestamp(event.ts * SECOND);
        let event_id = format!("e{:06}", event.id);
        match &event.what {
            What::Exposure { experiment, variant } => HistoryEvent::Exposure {
                ts,
                experiment: format!("x{experiment}").into(),
                variant: format!("v{variant}").into(),
                id_key: ingest::decode::id_key(event_id.as_bytes()),
                event_id,
            },
            What::Track { event, value } => HistoryEvent::Track {
                ts,
                event: format!("m{event}").into(),
                value: *value,
            },
        }
    })
    .collect()
}

/// Does what reconciliation does, with the events of the test instead of a lake.
fn reconcile(engine: &mut Engine, tables: &mut Tables, events: &[Given]) {
    let dirty = engine.take_dirty();
    for user in dirty.users {
        let id = String::from_utf8(engine.user_id(user).to_vec()).unwrap();
        engine.rebuild_user(user, history_of(events, &id));
    }
    for day in dirty.days {
        let mut cells = DayCells::default();
        let mut seen = BTreeSet::new();
        for event in events.iter().filter(|event| seen.insert(event.id)) {
            let What::Track { event: name, value } = &event.what else {
                continue;
            };
            let ts = Timestamp(event.ts * SECOND);
            if ts.day() == day {
                let user = format!("u{}", event.user);
                let hash = ingest::decode::user_hash(user.as_bytes());
                engine.add_to_day(&mut cells, (hash, &user), ts, (&format!("m{name}"), *value));
            }
        }
        let rows = engine.day_rows(day, cells);
        tables
            .truth
            .windows
            .retain(|key, _| Timestamp(key.0 * SECOND).day() != day);
        tables.take(Derived {
            windows: rows,
            ..Derived::default()
        });
    }
}

/// Runs events through an engine in epochs, mends what came too late, and gives what its tables say.
fn run(events: &[Given], epoch_events: usize, lateness_seconds: i64, restart: bool) -> Truth {
    run_within(LIMITS, events, epoch_events, lateness_seconds, restart)
}

fn run_within(
    limits: Limits,
    events: &[Given],
    epoch_events: usize,
    lateness_seconds: i64,
    restart: bool,
) -> Truth {
    let horizons = Horizons {
        lateness_micros: lateness_seconds * SECOND,
        dedup_micros: lateness_seconds * SECOND,
    };
    let plan = MeasurementPlan::discover();
    let mut engine = Engine::new(&plan, horizons);
    engine.limits = limits;
    let (mut runs, mut tables, mut accepted) = (Runs::default(), Tables::default(), Vec::new());
    let mut watermark = i64::MIN;
    for (epoch, events) in events.chunks(epoch_events).enumerate() {
        engine.apply(&batch(events), &mut runs, &mut accepted).unwrap();
        watermark = watermark.max(events.iter().map(|event| event.ts).max().unwrap());
        let written = engine.end_epoch(Timestamp(watermark * SECOND), epoch as i64);
        runs.0.extend(written.into_iter().map(|run| (run.name, run.keys)));
        if epoch % 3 == 1 {
            tables.take(engine.take_derived(false));
        }
        if restart {
            engine = Engine::from_snapshot(&plan, &snapshot_of(&engine)).unwrap();
            engine.limits = limits;
        }
    }
    tables.take(engine.take_derived(true));
    reconcile(&mut engine, &mut tables, events);
    tables.take(engine.take_derived(true));
    assert!(engine.dirty().is_empty());
    // An arm without users has a row of zeros or none at all: both say the same.
    tables.truth.summaries.retain(|_, (exposed, ..)| *exposed > 0);
    tables.truth
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    let what = prop_oneof![
        (0_u8..2, 0_u8..3).prop_map(|(experiment, variant)| What::Exposure { experiment, variant }),
        (0_u8..3, -20_i32..20).prop_map(|(event, value)| What::Track {
            event,
            value: f64::from(value) / 4.0
        }),
    ];
    let event = (0_i64..400, 0_i64..4_000, 0_u8..6, what, prop::bool::weighted(0.1));
    prop::collection::vec(event, 1..120).prop_map(|events| {
        let mut made: Vec<Given> = Vec::new();
        for (place, (delay, ts, user, what, copy)) in events.into_iter().enumerate() {
            let event = Given {
                id: place as u64,
                ts: ts * 40 + delay,
                user,
                what,
            };
            // A copy carries the same bytes, so the same time.
            if copy && !made.is_empty() {
                made.push(made[made.len() / 2].clone());
            }
            made.push(event);
        }
        made
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_of_arrival_gives_what_the_batch_gives(events in given(), epoch in 1_usize..40) {
        // What must never change: the streaming result equals the batch result, however late or out of order.
        prop_assert_eq!(run(&events, epoch, 1_000_000, false), reference(&events));
    }

    #[test]
    fn what_came_too_late_is_made_good(events in given(), epoch in 1_usize..10, lateness in 1_i64..20_000) {
        // What must never change: reconciliation restores the batch result after windows have closed.
        prop_assert_eq!(run(&events, epoch, lateness, false), reference(&events));
    }

    #[test]
    fn holding_less_of_the_past_changes_nothing(
        events in given(), epoch in 1_usize..20, tracks in 0_usize..20, ids in 0_usize..20, restart in any::<bool>()
    ) {
        // What must never change: what memory does not hold is found on storage and made good.
        let limits = Limits { tracks, ids, left_behind: 0, lateness_min_micros: 500 * SECOND };
        prop_assert_eq!(run_within(limits, &events, epoch, 40_000, restart), reference(&events));
    }

    #[test]
    fn a_snapshot_is_the_whole_state(events in given(), epoch in 1_usize..20, lateness in 1_i64..20_000) {
        // What must never change: restarting from a snapshot after every epoch changes nothing.
        prop_assert_eq!(run(&events, epoch, lateness, true), run(&events, epoch, lateness, false));
    }
}

fn snapshot_of(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine
        .write_snapshot(&MeasurementPlan::discover(), &mut bytes)
        .unwrap();
    bytes
}

#[test]
fn a_snapshot_of_the_first_form_is_read() {
    // What must never change: lakes that older programs wrote open.
    let plan = MeasurementPlan::discover();
    let mut bytes = snapshot_of(&Engine::new(&plan, Horizons::LIVE));
    let checksum = bytes.split_off(bytes.len() - 4);
    let body = bytes.split_off(8 + 16);
    let checksum_of_body = crc32fast::hash(&body).to_le_bytes();
    assert_ne!(checksum, checksum_of_body);
    let first_form = [b"EXPSNAP1".as_slice(), &checksum_of_body, &body].concat();
    let engine = Engine::from_snapshot(&plan, &first_form).unwrap();
    assert_eq!(engine.watermark(), Timestamp(i64::MIN));
}

#[test]
fn a_snapshot_that_cannot_be_written_says_why() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match bytes.len() {
                8 => Ok(8),
                _ => Err(std::io::Error::other("no space left")),
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let engine = Engine::new(&MeasurementPlan::discover(), Horizons::LIVE);
    let error = engine
        .write_snapshot(&MeasurementPlan::discover(), Full)
        .unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let plan = MeasurementPlan::discover();
    let engine = Engine::new(&plan, Horizons::LIVE);
    let mut bytes = snapshot_of(&engine);
    assert!(Engine::from_snapshot(&plan, &bytes[..5]).is_err());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(
        Engine::from_snapshot(&plan, &bytes)
            .unwrap_err()
            .contains("checksum")
    );
    bytes[0] = b'X';
    assert!(Engine::from_snapshot(&plan, &bytes).unwrap_err().contains("form"));
}

#[test]
fn guardrails_learn_of_users_by_the_minute_of_their_exposure() {
    // What must never change: a user is affected once, in the cohort of the first exposure, and crossovers are left out.
    let mut engine = Engine::new(&MeasurementPlan::discover(), Horizons::LIVE);
    let watch = Watch {
        experiment: domain::ExperimentKey::new("x0").unwrap(),
        event: domain::EventName::new("m0").unwrap(),
    };
    engine.watch(&[watch]);
    let expose = |id, ts, user, variant| Given {
        id,
        ts,
        user,
        what: What::Exposure {
            experiment: 0,
            variant,
        },
    };
    let fail = |id, ts, user| Given {
        id,
        ts,
        user,
        what: What::Track { event: 0, value: 1.0 },
    };
    let events = [
        expose(1, 10, 1, 0),
        expose(2, 20, 2, 1),
        expose(3, 70, 3, 1),
        fail(4, 80, 2),
        fail(5, 81, 2),
        fail(6, 90, 3),
    ];
    let mut accepted = Vec::new();
    engine
        .apply(&batch(&events), &mut Runs::default(), &mut accepted)
        .unwrap();
    let looks = engine.take_looks(1);
    let counts = |look: &domain::guardrail::GuardrailLook| {
        let cohorts = look.cohorts.iter();
        cohorts
            .map(|cohort| {
                (
                    cohort.start.0 / SECOND,
                    cohort
                        .arms
                        .iter()
                        .map(|arm| (arm.exposed, arm.affected_before, arm.newly_affected))
                        .collect::<Vec<_>>(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(looks.len(), 1);
    assert_eq!(
        counts(&looks[0]),
        [(0, vec![(1, 0, 0), (1, 0, 1)]), (60, vec![(0, 0, 0), (1, 0, 1)])]
    );
    assert!(engine.take_looks(2).is_empty());
    engine
        .apply(
            &batch(&[fail(7, 95, 1), expose(8, 99, 2, 0)]),
            &mut Runs::default(),
            &mut accepted,
        )
        .unwrap();
    assert_eq!(
        counts(&engine.take_looks(3)[0]),
        [(0, vec![(1, 0, 1), (0, 0, 0)])]
    );
}
