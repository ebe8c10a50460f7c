//! Every kind of write goes through the chain: a trail with each of them verifies, and no record stands beside it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use domain::experiment::{ExperimentDefinition, Outcome, Schedule, Transition};
use domain::guardrail::{ArmCounts, CohortCounts, GuardrailLook};
use domain::metric::{MetricDefinition, MetricKind};
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::rollout::RolloutScheduleDefinition;
use domain::rules::definition::SegmentDefinition;
use domain::{EventName, MetricKey, Moments, RolloutScheduleKey, SegmentKey, VariantKey};
use serde_json::json;

use super::*;
use crate::access::KeyKind;
use crate::audit::{Notary, PublicKey, read_checkpoints, verify};
use crate::permission::Role;
use crate::test_support::{ManualClock, Place, experiment_key, guardrail, instant, on_both_stores};
use crate::{Actor, Change, Clock, NewDecision, RolloutAction, Safety, Scheduler};

on_both_stores! {
    every_kind_of_write_leaves_its_record_in_the_chain,
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What some write leaves in the trail: by whom, what, to which kind.
type Trace = (&'static str, &'static str, &'static str);

const TRACES: &[Trace] = &[
    ("person", "create", "metric"),
    ("person", "delete", "metric"),
    ("person", "restore", "metric"),
    ("person", "start", "experiment"),
    ("person", "pause", "experiment"),
    ("person", "resume", "experiment"),
    ("person", "complete", "experiment"),
    ("person", "archive", "experiment"),
    ("person", "schedule", "experiment"),
    ("system", "start", "experiment"),
    ("system", "complete", "experiment"),
    ("system", "learn", "experiment"),
    ("system", "create", "experiment"),
    ("person", "start", "rollout_schedule"),
    ("person", "pause", "rollout_schedule"),
    ("person", "resume", "rollout_schedule"),
    ("person", "advance", "rollout_schedule"),
    ("person", "rollback", "rollout_schedule"),
    ("system", "advance", "rollout_schedule"),
    ("person", "rollout", "flag"),
    ("system", "rollout", "flag"),
    ("person", "rollback", "flag"),
    ("system", "rollback", "flag"),
    ("person", "update", "flag"),
    ("person", "share", "flag"),
    ("person", "create", "guardrail"),
    ("system", "hold", "guardrail"),
    ("person", "rearm", "guardrail"),
    ("person", "delete", "guardrail"),
    ("person", "update", "settings"),
    ("person", "replace_ids", "segment"),
    ("person", "add_ids", "segment"),
    ("person", "remove_ids", "segment"),
    ("person", "create", "project"),
    ("person", "create", "webhook_endpoint"),
    ("person", "disable", "webhook_endpoint"),
    ("person", "rotate_secret", "webhook_endpoint"),
    ("person", "delete", "webhook_endpoint"),
    ("person", "create", "account"),
    ("person", "update", "account"),
    ("person", "create_link", "account"),
    ("person", "create", "api_key"),
    ("person", "rotate", "api_key"),
    ("person", "revoke", "api_key"),
    ("person", "create", "erasure"),
    ("person", "complete", "erasure"),
];

/// A store that everything below writes to, one kind of write after the other.
struct Busy {
    place: Place,
    store: Store,
    clock: Arc<ManualClock>,
}

impl Busy {
    async fn open() -> Self {
        let (place, store) = open().await;
        let clock = Arc::new(ManualClock::at(100));
        Self { place, store, clock }
    }

    fn by_anna(&self) -> Change {
        Change::new(Actor::person("anna"), self.clock.now())
    }

    /// Lets the scheduler do what has become due.
    async fn later(&self, seconds: i64) -> usize {
        self.clock.advance(seconds);
        let clock: Arc<dyn Clock> = self.clock.clone();
        let done = Scheduler::new(self.store.clone(), clock).run_once().await;
        done.unwrap()
    }

    async fn documents(&self) {
        let metric: MetricDefinition =
            read(json!({"key": "clicked", "kind": "proportion", "event": "click"}));
        let made = self.store.create(&metric, &self.by_anna()).await.unwrap();
        let by = self.by_anna();
        let deleted = self
            .store
            .delete::<MetricDefinition>(&metric.key, made.version, &by);
        deleted.await.unwrap();
        let restored = self.store.restore::<MetricDefinition>(&metric.key, &by);
        restored.await.unwrap();
        let text = "experimently: 1\nprojects:\n  shop: {owner: ada}\n";
        let settings = ImportSettings {
            delete_others: false,
            plan_only: false,
        };
        let bundle = Bundle::from_yaml(text).unwrap();
        self.store.import(&bundle, settings, &by).await.unwrap();
    }

    async fn segment_ids(&self) {
        let segment: SegmentDefinition = read(json!({"key": "beta"}));
        self.store.create(&segment, &self.by_anna()).await.unwrap();
        let key = SegmentKey::new("beta").unwrap();
        for how in [IdListChange::Replace, IdListChange::Add, IdListChange::Remove] {
            let ids = vec![how as u64 + 1];
            let by = self.by_anna();
            let changed = self.store.change_segment_ids(&key, how, ids, &by);
            changed.await.unwrap();
        }
    }

    fn experiment(&self, key: &str) -> ExperimentDefinition {
        read(json!({
            "key": key, "control": "old", "metrics": [{"metric": "clicked"}],
            "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}],
            "analysis": {"planned_units": 10_000, "minimum_effect": 0.02}
        }))
    }

    async fn life_cycle(&self) {
        let key = experiment_key("by-hand");
        let made = self.experiment("by-hand");
        self.store.create(&made, &self.by_anna()).await.unwrap();
        let decision = NewDecision {
            outcome: Outcome::Inconclusive,
            variant: None,
            reason: "too few users".to_owned(),
        };
        for step in [
            Transition::Start,
            Transition::Pause,
            Transition::Resume,
            Transition::Complete,
            Transition::Archive,
        ] {
            let decision = (step == Transition::Complete).then_some(&decision);
            let by = self.by_anna();
            let advanced = self.store.advance(&key, step, decision, None, &by);
            advanced.await.unwrap();
        }
        let timed = self.experiment("by-time");
        self.store.create(&timed, &self.by_anna()).await.unwrap();
        let schedule = Schedule {
            start_at: Some(self.clock.now().plus_micros(1_000_000)),
            end_at: Some(self.clock.now().plus_micros(2_000_000)),
            problem: None,
        };
        let key = experiment_key("by-time");
        let by = self.by_anna();
        self.store.schedule(&key, &schedule, None, &by).await.unwrap();
        assert_eq!((self.later(1).await, self.later(1).await), (1, 1));
    }

    async fn bandit(&self) {
        let bandit: ExperimentDefinition = read(json!({
            "key": "banner", "type": "bandit", "status": "running", "control": "a", "metrics": [{"metric": "clicked"}],
            "variants": [{"key": "a", "weight": 1.0}, {"key": "b", "weight": 1.0}],
            "bandit": {"interval_seconds": 60, "floor": 0.05, "burn_in_units": 100}
        }));
        self.store.create(&bandit, &self.by_anna()).await.unwrap();
        let arm = |variant: &str, units: u64| ArmSummary {
            variant: VariantKey::new(variant).unwrap(),
            exposed: 1_000,
            metrics: [(
                MetricKey::new("clicked").unwrap(),
                MetricSummary {
                    kind: MetricKind::Proportion,
                    units,
                    moments: Moments {
                        n: 1_000,
                        mean: units as f64 / 1_000.0,
                        m2: units as f64 * (1.0 - units as f64 / 1_000.0),
                    },
                    pair: None,
                },
            )]
            .into(),
        };
        let summary = ExperimentSummary {
            experiment: experiment_key("banner"),
            as_of: instant(0),
            epoch: 1,
            arms: vec![arm("a", 100), arm("b", 200)],
            crossover_users: 0,
        };
        let summary = Arc::new(Mutex::new(summary));
        let seen = Arc::clone(&summary);
        let summaries = move |_: &domain::ExperimentKey| Some(Arc::new(seen.lock().unwrap().clone()));
        self.store.use_summaries(Arc::new(summaries));
        assert_eq!(self.later(60).await, 1);
        let mut found = summary.lock().unwrap().clone();
        found.experiment = experiment_key("found");
        let discovered = Discovered::from_summaries(&[found]);
        let now = self.clock.now();
        assert!(self.store.record_discovered(&discovered, now).await.unwrap());
    }

    async fn rollout(&self) {
        self.store.create(&flag(), &self.by_anna()).await.unwrap();
        let schedule: RolloutScheduleDefinition = read(json!({
            "key": "r", "flag": "checkout", "variation": "new", "control": "old", "stages": [
                {"percent": 1.0, "trigger": {"type": "after", "seconds": 0}},
                {"percent": 10.0, "trigger": {"type": "after", "seconds": 60}},
                {"percent": 20.0, "trigger": {"type": "manual"}},
                {"percent": 30.0, "trigger": {"type": "manual"}}
            ]
        }));
        self.store.create(&schedule, &self.by_anna()).await.unwrap();
        let key = RolloutScheduleKey::new("r").unwrap();
        let act = async |action| {
            let by = self.by_anna();
            let acted = self.store.act_on_rollout(&key, action, None, &by);
            acted.await.unwrap();
        };
        act(RolloutAction::Start).await;
        act(RolloutAction::Pause).await;
        act(RolloutAction::Resume).await;
        assert!(self.later(60).await >= 1);
        act(RolloutAction::Advance).await;
        act(RolloutAction::RollBack).await;
    }

    /// Harm to the new variation of the flag in ten commits from `epoch` on.
    async fn harm(&self, epoch: i64) {
        let arm = |variant: &str, before: u64, newly_affected| ArmCounts {
            variant: VariantKey::new(variant).unwrap(),
            exposed: 1_000,
            affected_before: before,
            newly_affected,
        };
        let safety = Safety::new(self.store.clone());
        for index in 0..10 {
            let look = GuardrailLook {
                experiment: experiment_key("checkout"),
                event: EventName::new("error").unwrap(),
                epoch: epoch + index,
                cohorts: vec![CohortCounts {
                    start: instant(0),
                    arms: vec![arm("new", 9 * index as u64, 9), arm("old", index as u64, 1)],
                }],
            };
            safety.observe(&[look], self.clock.now()).await.unwrap();
        }
    }

    async fn enable_flag(&self) {
        let mut found = self.store.get::<FlagDefinition>(&flag().key).await.unwrap();
        found.definition = flag();
        let by = self.by_anna();
        let updated = self.store.update(&found.definition, found.version, &by);
        updated.await.unwrap();
    }

    async fn safety(&self) {
        self.enable_flag().await;
        let by = self.by_anna();
        let made = self.store.create_guardrail(&guardrail(), &by).await.unwrap();
        self.harm(1).await;
        self.enable_flag().await;
        self.store.rollback_by_hand(&flag().key, &by).await.unwrap();
        self.enable_flag().await;
        let held = SafetySettings {
            automatic_rollback: false,
            ..SafetySettings::default()
        };
        self.store.set_safety_settings(held, Some(0), &by).await.unwrap();
        self.harm(100).await;
        self.store.retire_guardrail(&made.id, &by).await.unwrap();
    }

    async fn receivers(&self) {
        let settings = crate::WebhookSettings {
            allow_private_targets: true,
        };
        let by = self.by_anna();
        let made = self.store.create_endpoint("http://127.0.0.1:9/", &settings, &by);
        let id = made.await.unwrap().endpoint.id;
        self.store.set_endpoint_enabled(&id, false, &by).await.unwrap();
        self.store.rotate_endpoint_secret(&id, &by).await.unwrap();
        self.store.delete_endpoint(&id, &by).await.unwrap();
    }

    async fn access(&self) {
        let by = self.by_anna();
        let name = AccountName::new("ben").unwrap();
        self.store.create_account(&name, Role::Viewer, &by).await.unwrap();
        let changed = self.store.change_account(&name, (Some(Role::Analyst), None), &by);
        changed.await.unwrap();
        self.store.create_link(&name, &by).await.unwrap();
        let new = NewKey {
            name: "shop".to_owned(),
            kind: KeyKind::Server,
            scopes: Vec::new(),
            environment: None,
            expires_at: None,
        };
        let made = self.store.create_key(&new, &by).await.unwrap();
        let end = self.clock.now().plus_micros(1_000_000);
        let rotated = self.store.rotate_key(&made.key.selector, end, &by).await.unwrap();
        self.store.revoke_key(&rotated.key.selector, &by).await.unwrap();
        let everybody = Ownership::default();
        let object = (ObjectKind::Flag, "checkout");
        self.store.share(object, &everybody, &by).await.unwrap();
        let receipt = crate::Receipt::of("u1", by.at);
        self.store.ask_for_erasure(receipt.clone(), &by).await.unwrap();
        let rows = crate::ErasedRows::default();
        self.store
            .finish_erasure(&receipt.receipt, rows, &by)
            .await
            .unwrap();
    }

    async fn traces(&self) -> BTreeSet<(String, String, String)> {
        let trail = self.store.audit_after(0, 10_000).await.unwrap();
        let trace = |found: ChainedRecord| {
            let record = found.record;
            let who = record.actor.as_str().split(':').next().unwrap_or("").to_owned();
            (who, record.action, record.kind.as_str().to_owned())
        };
        trail.into_iter().map(trace).collect()
    }
}

async fn every_kind_of_write_leaves_its_record_in_the_chain() {
    // What must never change: whoever writes, by whatever way, the chain has it and still verifies.
    let busy = Busy::open().await;
    busy.documents().await;
    busy.segment_ids().await;
    busy.life_cycle().await;
    busy.bandit().await;
    busy.rollout().await;
    busy.safety().await;
    busy.receivers().await;
    busy.access().await;

    let traces = busy.traces().await;
    for (who, action, kind) in TRACES {
        let trace = ((*who).to_owned(), (*action).to_owned(), (*kind).to_owned());
        assert!(traces.contains(&trace), "{trace:?} is not in {traces:#?}");
    }

    let place = busy.place.folder().join("audit");
    let mut notary = Notary::open(busy.store.clone(), busy.clock.clone(), &place, 36_500).unwrap();
    notary.look(true).await.unwrap();
    let checkpoints = read_checkpoints(&place.join("checkpoints.jsonl")).unwrap();
    let key = PublicKey::read(&place.join("public-key")).unwrap();
    let verified = verify(&busy.store, &checkpoints, &key).await.unwrap().unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM audit")
        .fetch_one(busy.store.readers())
        .await
        .unwrap();
    assert_eq!((verified.records, verified.head.seq), (rows as u64, rows));
    assert_eq!(verified.head, busy.store.audit_head().await.unwrap());
}
