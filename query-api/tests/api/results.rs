//! Results of the live view, and statistics by name.

use domain::metric::MetricKind;
use domain::results::{ArmSummary, ExperimentSummary, MetricSummary};
use domain::{ExperimentKey, MetricKey, Moments, Timestamp, VariantKey};
use serde_json::{Value, json};

use crate::support::{Server, problem};

fn arm(variant: &str, mean: f64) -> ArmSummary {
    let moments = Moments {
        n: 1_000,
        mean,
        m2: 4_000.0,
    };
    let summary = |kind| MetricSummary {
        kind,
        units: 400,
        moments,
        pair: None,
    };
    ArmSummary {
        variant: VariantKey::new(variant).unwrap(),
        exposed: 1_000,
        metrics: [
            (MetricKey::new("revenue").unwrap(), summary(MetricKind::Sum)),
            (MetricKey::new("orders").unwrap(), summary(MetricKind::Count)),
        ]
        .into(),
    }
}

fn summary(arms: Vec<ArmSummary>) -> ExperimentSummary {
    ExperimentSummary {
        experiment: ExperimentKey::new("checkout").unwrap(),
        as_of: Timestamp::parse("2026-01-31T12:00:00Z").unwrap(),
        epoch: 7,
        arms,
        crossover_users: 3,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_those_of_the_last_commit() {
    let server = Server::start().await;
    problem(
        &server.get("/api/v1/experiments/checkout/results").await,
        404,
        "not_found",
    );
    server.commit(summary(vec![arm("new", 11.0), arm("control", 10.0)]));

    let answer = server.get("/api/v1/experiments/checkout/results").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["epoch"], &body["control"]), (&json!(7), &json!("control")));
    assert_eq!(body["crossover_users"], 3);
    assert_eq!(body["sample_ratio"]["verdict"], "ok");
    let metrics: Vec<_> = body["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["metric"].clone())
        .collect();
    assert_eq!(metrics, ["orders", "revenue"]);

    let one = server
        .get("/api/v1/experiments/checkout/results?metric=revenue")
        .await
        .json();
    assert_eq!(one["metrics"].as_array().unwrap().len(), 1);
    // What must never change: looking at one metric does not change its numbers.
    assert_eq!(one["metrics"][0], body["metrics"][1]);
    problem(
        &server
            .get("/api/v1/experiments/checkout/results?metric=nothing")
            .await,
        404,
        "not_found",
    );
    problem(
        &server
            .get("/api/v1/experiments/checkout/results?metrics=revenue")
            .await,
        400,
        "invalid_query",
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_results_are_said_to_be_none_and_why() {
    let server = Server::start().await;
    let experiment = json!({"key": "checkout", "control": "old",
        "variants": [{"key": "old", "weight": 1.0}, {"key": "new", "weight": 1.0}]});
    assert_eq!(server.post("/api/v1/experiments", &experiment).await.status, 201);
    let none = server.get("/api/v1/experiments/checkout/results").await;
    assert_eq!(
        (none.status, &none.json()["reason"]["code"]),
        (200, &json!("no_exposures"))
    );
    assert_eq!(none.json()["metrics"], json!([]));

    server.commit(summary(vec![arm("new", 11.0)]));
    let without_control = server.get("/api/v1/experiments/checkout/results").await;
    assert_eq!(without_control.status, 200);
    let body = without_control.json();
    assert_eq!(body["reason"]["code"], "invalid_input");
    assert_eq!(body["arms"], json!([{"variant": "new", "exposed": 1_000}]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_answered_call_by_call() {
    let server = Server::start().await;
    let calls = json!({"calls": [
        {"id": "a", "method": "no such method"},
        {"id": "b", "method": stats::call::registry::METHODS[0].name, "inputs": {}},
        7,
    ]});
    let answers = server.post("/api/v1/stats", &calls).await;
    assert_eq!(answers.status, 200, "{}", answers.text);
    let answers = answers.json()["answers"].clone();
    assert_eq!(answers[0]["error"]["code"], "unknown_method");
    let direct = stats::call(&calls["calls"][1]);
    assert_eq!(answers[1], direct);
    assert_eq!(
        (&answers[2]["id"], answers[2]["error"].is_object()),
        (&Value::Null, true)
    );
    problem(
        &server.post("/api/v1/stats", &json!({"calls": []})).await,
        400,
        "invalid_body",
    );
    let many: Vec<_> = (0..1_001).map(|id| json!({"id": id})).collect();
    problem(
        &server.post("/api/v1/stats", &json!({"calls": many})).await,
        400,
        "invalid_body",
    );
    server.stop().await;
}
