//! Results decide by the method that the experiment plans, however often they are read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use control::{Clock, Scheduler};
use domain::metric::MetricKind;
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use serde_json::{Value, json};

use crate::stores::on_both_stores;
use crate::support::Server;

on_both_stores! {
    a_fixed_horizon_is_decided_by_what_was_known_at_its_end,
    group_sequential_results_decide_at_the_planned_looks,
    a_bayesian_plan_decides_by_its_posterior_and_a_sequential_one_does_not,
}

/// Arms of `n` users with variance 1, the second one's mean `z` standard errors of the difference above the first one's.
fn summary(n: u64, z: f64) -> ExperimentSummary {
    let arm = |variant: &str, mean: f64| ArmSummary {
        variant: VariantKey::new(variant).unwrap(),
        exposed: n,
        metrics: [(
            MetricKey::new("revenue").unwrap(),
            MetricSummary {
                kind: MetricKind::Sum,
                units: n,
                moments: Moments {
                    n,
                    mean,
                    m2: (n - 1) as f64,
                },
                pair: None,
            },
        )]
        .into(),
    };
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-31T12:00:00Z").unwrap(),
        epoch: n as i64,
        arms: vec![arm("old", 9.0), arm("new", 9.0 + z * (2.0 / n as f64).sqrt())],
        crossover_users: 0,
    }
}

/// A clock that goes on by a minute with each reading.
struct Minutes(AtomicI64);

impl Clock for Minutes {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(60_000_000, Ordering::SeqCst))
    }
}

/// A server with a running experiment of a planned analysis, and the scheduler that `serve` would run beside it.
struct Scene {
    server: Server,
    scheduler: Scheduler,
    newest: Arc<Mutex<Option<Arc<ExperimentSummary>>>>,
}

impl Scene {
    async fn start(analysis: Value) -> Self {
        let server = Server::start().await;
        let newest: Arc<Mutex<Option<Arc<ExperimentSummary>>>> = Arc::default();
        let seen = Arc::clone(&newest);
        server
            .store
            .use_summaries(Arc::new(move |_: &ExperimentKey| seen.lock().unwrap().clone()));
        let metric = json!({"key": "revenue", "kind": "sum", "event": "purchase"});
        let made = server.post("/api/v1/metrics", &metric).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let experiment = json!({"key": "checkout", "status": "running", "control": "old",
            "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}],
            "metrics": [{"metric": "revenue"}], "analysis": analysis});
        let made = server.post("/api/v1/experiments", &experiment).await;
        assert_eq!(made.status, 201, "{}", made.text);
        // From well after the server's own clock, so that every timer is due.
        let start = Timestamp::parse("2026-02-01T12:00:00Z").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Minutes(AtomicI64::new(start.0)));
        let scheduler = Scheduler::new(server.store.clone(), clock);
        Self {
            server,
            scheduler,
            newest,
        }
    }

    /// The results after a commit, once the scheduler had its turn.
    async fn after(&self, summary: ExperimentSummary) -> Value {
        *self.newest.lock().unwrap() = Some(Arc::new(summary.clone()));
        self.server.commit(summary);
        self.scheduler.run_once().await.unwrap();
        let answer = self.server.get("/api/v1/experiments/checkout/results").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

fn comparison(results: &Value) -> &Value {
    &results["metrics"][0]["comparisons"][0]
}

async fn a_fixed_horizon_is_decided_by_what_was_known_at_its_end() {
    // What must never change: peeking at a fixed horizon neither decides early nor changes what was decided.
    let scene = Scene::start(json!({"method": "fixed_horizon", "planned_units": 2_000, "alpha": 0.01})).await;
    let early = scene.after(summary(900, 4.0)).await;
    assert_eq!(
        (&early["method"], &early["next_look"]),
        (&json!("fixed_horizon"), &json!(2_000))
    );
    assert_eq!(comparison(&early)["decision"], "undecided");
    assert!(
        early["warnings"][0].as_str().unwrap().contains("2000 users"),
        "{early}"
    );

    let reached = scene.after(summary(1_010, 2.7)).await;
    assert_eq!(comparison(&reached)["decision"], "better");
    assert_eq!(reached["looks"][0]["units"], 2_020);
    assert_eq!(
        (&reached["alpha"], &reached["next_look"]),
        (&json!(0.01), &Value::Null)
    );
    let p_value = comparison(&reached)["planned"]["p_value"].as_f64().unwrap();
    let welch = comparison(&reached)["absolute"]["fixed"]["p_value"]
        .as_f64()
        .unwrap();
    assert!((p_value / welch - 1.0).abs() < 1e-9, "{p_value} {welch}");

    let later = scene.after(summary(3_000, 0.2)).await;
    assert_eq!(comparison(&later)["decision"], "better");
    assert_eq!(comparison(&later)["planned"], comparison(&reached)["planned"]);
    scene.server.stop().await;
}

async fn group_sequential_results_decide_at_the_planned_looks() {
    let plan = json!({"method": "group_sequential", "looks": [2_000, 4_000, 6_000, 8_000, 10_000]});
    let scene = Scene::start(plan).await;
    // At 4 the first look does not cross: almost nothing may be spent at a fifth of the information.
    let first = scene.after(summary(1_000, 4.0)).await;
    assert_eq!(comparison(&first)["decision"], "undecided");
    let bound = comparison(&first)["planned"]["looks"][0]["critical_value"]
        .as_f64()
        .unwrap();
    assert!((bound - 4.8769).abs() < 2e-4, "{bound}");
    // Between looks nothing is looked at, however large.
    let between = scene.after(summary(1_900, 6.0)).await;
    assert_eq!(comparison(&between)["decision"], "undecided");
    assert_eq!(between["looks"].as_array().unwrap().len(), 1);
    let second = scene.after(summary(2_000, 3.5)).await;
    assert_eq!(comparison(&second)["decision"], "better");
    let planned = &comparison(&second)["planned"];
    assert_eq!(planned["deciding_look"], 2);
    let stop = &planned["at_stop"];
    assert!(
        stop["median_unbiased"].as_f64().unwrap() < stop["estimate"].as_f64().unwrap(),
        "{planned}"
    );
    assert_eq!(second["next_look"], 6_000);
    scene.server.stop().await;
}

async fn a_bayesian_plan_decides_by_its_posterior_and_a_sequential_one_does_not() {
    let bayesian = Scene::start(json!({"method": "bayesian"})).await;
    let results = bayesian.after(summary(1_000, 2.3)).await;
    assert_eq!(comparison(&results)["decision"], "better");
    let posterior = &comparison(&results)["posterior"];
    let chance = posterior["posterior"]["chance_to_win"].as_f64().unwrap();
    assert!((chance - 0.989_3).abs() < 1e-3, "{posterior}");
    assert_eq!(comparison(&results)["planned"], Value::Null);
    bayesian.server.stop().await;

    let sequential = Scene::start(json!({"method": "sequential", "correction": "none"})).await;
    let results = sequential.after(summary(1_000, 2.3)).await;
    assert_eq!(comparison(&results)["decision"], "undecided");
    assert_eq!(
        (&results["correction"], &results["looks"]),
        (&json!("none"), &json!([]))
    );
    let (posterior, planned) = (
        &comparison(&results)["posterior"],
        &comparison(&results)["planned"],
    );
    assert_eq!((posterior, planned), (&Value::Null, &Value::Null));
    sequential.server.stop().await;
}
