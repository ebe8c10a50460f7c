//! Deliveries to receivers on this machine: every answer, silence, crashes, time and isolation.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::store::{Delivery, DeliveryState, Endpoint, NewEndpoint};
use crate::test_support::{ManualClock, Place, anna, flag, flag_key, instant, on_both_stores, open};
use crate::webhook::WebhookSecret;

const OPEN: WebhookSettings = WebhookSettings {
    allow_private_targets: true,
};

on_both_stores! {
    a_message_arrives_signed_and_once,
    every_answer_has_its_consequence,
    who_says_nothing_or_is_not_there_is_tried_again,
    attempts_follow_the_schedule_with_one_id_and_then_the_message_is_given_up,
    five_failing_days_turn_a_receiver_off_and_the_others_are_told,
    what_was_sent_but_not_recorded_is_sent_again_with_the_same_id,
    a_dead_receiver_delays_nobody_and_a_stopped_worker_finishes_what_it_began,
    a_guarded_worker_never_connects_to_the_own_machine,
    a_rotated_secret_signs_beside_the_old_one_for_a_day,
}

/// The instant at which each test begins, in seconds.
const START: i64 = 1_000_000;

/// What a receiver got: the head of each request in lower case, and its body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver that gives the same answer to everybody; without an answer it keeps the connection open and says nothing.
struct Receiver {
    url: String,
    requests: Requests,
    arrived: Arc<Notify>,
}

async fn receiver(answer: Option<&str>) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (requests, arrived) = (Requests::default(), Arc::new(Notify::new()));
    let (seen, notify) = (Arc::clone(&requests), Arc::clone(&arrived));
    let answer = answer.map(str::to_owned);
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let request = read_request(&mut connection).await;
            seen.lock().unwrap().push(request);
            notify.notify_one();
            match &answer {
                Some(answer) => drop(connection.write_all(answer.as_bytes()).await),
                None => silent.push(connection),
            }
        }
    });
    Receiver {
        url,
        requests,
        arrived,
    }
}

async fn read_request(connection: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let size = connection.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..size]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = header(&head, "content-length").parse::<usize>().unwrap();
            if body.len() == length {
                return (head, body.to_owned());
            }
        }
        assert_ne!(size, 0, "the request ended early");
    }
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or("")
}

fn answer(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} x\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

struct Setup {
    _place: Place,
    store: Store,
    clock: Arc<ManualClock>,
    worker: WebhookWorker,
}

async fn setup(timeout: Duration) -> Setup {
    let (place, store) = open().await;
    store.create(&flag(), &anna(0)).await.unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let worker = WebhookWorker::with_timeout(store.clone(), shared, OPEN, timeout).unwrap();
    Setup {
        _place: place,
        store,
        clock,
        worker,
    }
}

impl Setup {
    async fn subscribe(&self, url: &str) -> NewEndpoint {
        self.store
            .create_endpoint(url, &OPEN, &anna(START))
            .await
            .unwrap()
    }

    /// Queues one message by rolling the flag back.
    async fn queue(&self) {
        self.store
            .rollback_by_hand(&flag_key(), &anna(START))
            .await
            .unwrap();
    }

    async fn delivery(&self, endpoint: &Endpoint) -> Delivery {
        self.store
            .deliveries(&endpoint.id, None, 10)
            .await
            .unwrap()
            .items
            .remove(0)
    }
}

async fn a_message_arrives_signed_and_once() {
    let setup = setup(TIMEOUT).await;
    let receiver = receiver(Some(&answer(204, ""))).await;
    let made = setup.subscribe(&receiver.url).await;
    setup.queue().await;
    assert_eq!(setup.worker.deliver_due().await.unwrap(), 1);
    assert_eq!(setup.worker.deliver_due().await.unwrap(), 0);
    let delivery = setup.delivery(&made.endpoint).await;
    assert_eq!(
        (delivery.state, delivery.attempts, delivery.last_status),
        (DeliveryState::Delivered, 1, Some(204))
    );

    let requests = receiver.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    let (head, body) = &requests[0];
    let id = header(head, "webhook-id");
    assert_eq!(id, delivery.message);
    assert_eq!(header(head, "webhook-timestamp"), START.to_string());
    assert_eq!(header(head, "content-type"), "application/json");
    let expected = sign(std::slice::from_ref(&made.secret), id, START, body).to_lowercase();
    assert_eq!(header(head, "webhook-signature"), expected);
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "flag.rolled_back");
    assert_eq!(body["timestamp"], instant(START).to_string());
    assert_eq!(
        (&body["data"]["flag"], &body["data"]["automatic"]),
        (&"checkout".into(), &false.into())
    );
}

async fn every_answer_has_its_consequence() {
    // (answer, state, on afterwards, seconds until the next attempt, with its jitter)
    let moved = "location: http://127.0.0.1:1/elsewhere\r\n";
    let date = "retry-after: Mon, 12 Jan 1970 13:48:40 GMT\r\n";
    let pending = DeliveryState::Pending;
    let cases = [
        (answer(200, ""), DeliveryState::Delivered, true, None),
        (answer(204, ""), DeliveryState::Delivered, true, None),
        (answer(301, moved), pending, true, Some(5.0..=5.5)),
        (answer(307, moved), pending, true, Some(5.0..=5.5)),
        (answer(400, ""), pending, true, Some(5.0..=5.5)),
        (answer(410, ""), DeliveryState::Exhausted, false, None),
        (
            answer(429, "retry-after: 90\r\n"),
            pending,
            true,
            Some(90.0..=90.0),
        ),
        (answer(503, date), pending, true, Some(120.0..=120.0)),
        (answer(500, "retry-after: 90\r\n"), pending, true, Some(5.0..=5.5)),
        (answer(502, ""), pending, true, Some(5.0..=5.5)),
        ("nonsense\r\n\r\n".to_owned(), pending, true, Some(5.0..=5.5)),
        // A body that is announced as endless is not waited for.
        (
            "HTTP/1.1 200 x\r\ncontent-length: 1000000000\r\n\r\nabc".to_owned(),
            DeliveryState::Delivered,
            true,
            None,
        ),
    ];
    for (answer, state, enabled, wait) in cases {
        let setup = setup(TIMEOUT).await;
        let receiver = receiver(Some(&answer)).await;
        let endpoint = setup.subscribe(&receiver.url).await.endpoint;
        setup.queue().await;
        setup.worker.deliver_due().await.unwrap();
        let delivery = setup.delivery(&endpoint).await;
        assert_eq!(delivery.state, state, "{answer}");
        assert_eq!(
            setup.store.endpoint(&endpoint.id).await.unwrap().enabled,
            enabled,
            "{answer}"
        );
        assert_eq!(
            delivery.last_error.is_none(),
            state == DeliveryState::Delivered,
            "{answer}"
        );
        let waited = delivery
            .next_attempt_at
            .map(|at| (at.0 - instant(START).0) as f64 / 1e6);
        assert_eq!(waited.is_some(), wait.is_some(), "{answer}");
        if let (Some(waited), Some(wait)) = (waited, wait) {
            assert!(wait.contains(&waited), "{answer}: {waited}");
        }
    }
}

async fn who_says_nothing_or_is_not_there_is_tried_again() {
    let setup = setup(Duration::from_millis(200)).await;
    let silent = receiver(None).await;
    let slow = setup.subscribe(&silent.url).await.endpoint;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let absent = setup.subscribe(&nobody).await.endpoint;
    setup.queue().await;
    assert_eq!(setup.worker.deliver_due().await.unwrap(), 2);
    for endpoint in [&slow, &absent] {
        let delivery = setup.delivery(endpoint).await;
        assert_eq!(
            (delivery.state, delivery.attempts, delivery.last_status),
            (DeliveryState::Pending, 1, None)
        );
        let error = delivery.last_error.unwrap();
        assert!(
            !error.contains("127.0.0.1:") || !error.contains("/hook"),
            "{error}"
        );
    }
    let failing = setup.store.endpoint(&slow.id).await.unwrap();
    assert_eq!(failing.failing_since, Some(instant(START)));
}

async fn attempts_follow_the_schedule_with_one_id_and_then_the_message_is_given_up() {
    let setup = setup(TIMEOUT).await;
    let receiver = receiver(Some(&answer(500, ""))).await;
    let endpoint = setup.subscribe(&receiver.url).await.endpoint;
    setup.queue().await;
    let mut attempts = 0;
    loop {
        attempts += setup.worker.deliver_due().await.unwrap();
        let Some(next) = setup.delivery(&endpoint).await.next_attempt_at else {
            break;
        };
        // Nothing is sent before its time.
        assert_eq!(setup.worker.deliver_due().await.unwrap(), 0);
        let micros = next.0 - setup.clock.now().0;
        setup.clock.advance(micros / MICROS_PER_SECOND + 1);
    }
    assert_eq!(attempts, 10);
    let delivery = setup.delivery(&endpoint).await;
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Exhausted, 10)
    );
    let requests = receiver.requests.lock().unwrap();
    let ids: HashSet<&str> = requests
        .iter()
        .map(|(head, _)| header(head, "webhook-id"))
        .collect();
    assert_eq!((requests.len(), ids.len()), (10, 1));
    // Each attempt is signed with its own time.
    let times: HashSet<&str> = requests
        .iter()
        .map(|(head, _)| header(head, "webhook-timestamp"))
        .collect();
    assert_eq!(times.len(), 10);
}

async fn five_failing_days_turn_a_receiver_off_and_the_others_are_told() {
    let setup = setup(TIMEOUT).await;
    let failing = receiver(Some(&answer(500, ""))).await;
    let healthy = receiver(Some(&answer(200, ""))).await;
    let endpoint = setup.subscribe(&failing.url).await.endpoint;
    let other = setup.subscribe(&healthy.url).await.endpoint;
    setup.queue().await;
    setup.worker.deliver_due().await.unwrap();
    setup.clock.advance(5 * 86_400);
    setup.worker.deliver_due().await.unwrap();
    assert!(!setup.store.endpoint(&endpoint.id).await.unwrap().enabled);
    assert!(setup.store.endpoint(&other.id).await.unwrap().enabled);
    let told = setup.delivery(&other).await;
    assert_eq!(
        (told.event_type.as_str(), told.state),
        ("webhook_endpoint.disabled", DeliveryState::Delivered)
    );
    // Turned on again, the receiver gets what is still pending.
    setup
        .store
        .set_endpoint_enabled(&endpoint.id, true, &anna(START))
        .await
        .unwrap();
    setup.clock.advance(86_400);
    assert_eq!(setup.worker.deliver_due().await.unwrap(), 1);
}

async fn what_was_sent_but_not_recorded_is_sent_again_with_the_same_id() {
    let setup = setup(TIMEOUT).await;
    let receiver = receiver(Some(&answer(200, ""))).await;
    setup.subscribe(&receiver.url).await;
    setup.queue().await;
    // The process ends between the answer and its record: a sender whose work nobody records.
    let due = setup.store.due(setup.clock.now(), 1).await.unwrap();
    assert_eq!(setup.worker.sender.send(&due[0]).await.status, Some(200));
    assert_eq!(setup.worker.deliver_due().await.unwrap(), 1);
    let requests = receiver.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        header(&requests[0].0, "webhook-id"),
        header(&requests[1].0, "webhook-id")
    );
    assert_eq!(requests[0].1, requests[1].1);
}

async fn a_dead_receiver_delays_nobody_and_a_stopped_worker_finishes_what_it_began() {
    let setup = setup(Duration::from_secs(2)).await;
    let dead = receiver(None).await;
    let healthy = receiver(Some(&answer(200, ""))).await;
    let endpoint = setup.subscribe(&dead.url).await.endpoint;
    setup.subscribe(&healthy.url).await;
    let store = setup.store.clone();
    let stop = CancellationToken::new();
    let worker = tokio::spawn(setup.worker.run(stop.clone()));
    store.rollback_by_hand(&flag_key(), &anna(START)).await.unwrap();
    // Both have got the message, and only one has answered: the healthy one did not wait for the other.
    dead.arrived.notified().await;
    healthy.arrived.notified().await;
    assert_eq!(
        store.deliveries(&endpoint.id, None, 1).await.unwrap().items[0].attempts,
        0
    );
    stop.cancel();
    worker.await.unwrap();
    assert_eq!(
        store.deliveries(&endpoint.id, None, 1).await.unwrap().items[0].attempts,
        1
    );
}

async fn a_guarded_worker_never_connects_to_the_own_machine() {
    let setup = setup(TIMEOUT).await;
    let receiver = receiver(Some(&answer(200, ""))).await;
    let endpoint = setup.subscribe(&receiver.url).await.endpoint;
    let port = receiver
        .url
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches("/hook")
        .to_owned();
    let refused = setup
        .store
        .create_endpoint(&receiver.url, &WebhookSettings::default(), &anna(START))
        .await;
    assert!(matches!(refused, Err(ControlError::BlockedTarget { .. })));
    setup.queue().await;
    // The same store under stricter settings: the address is checked again before the attempt.
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&setup.clock);
    let guarded = WebhookWorker::new(setup.store.clone(), clock, &WebhookSettings::default()).unwrap();
    assert_eq!(guarded.deliver_due().await.unwrap(), 1);
    assert_eq!(setup.delivery(&endpoint).await.state, DeliveryState::Pending);
    // Names are looked at when the client connects.
    let by_name = guarded
        .sender
        .client
        .get(format!("http://localhost:{port}/hook"))
        .send()
        .await;
    assert!(by_name.is_err_and(|error| format!("{error:?}").contains("NoPublicAddress")));
    assert!(receiver.requests.lock().unwrap().is_empty());
}

async fn a_rotated_secret_signs_beside_the_old_one_for_a_day() {
    let setup = setup(TIMEOUT).await;
    let receiver = receiver(Some(&answer(500, ""))).await;
    let made = setup.subscribe(&receiver.url).await;
    let rotated = setup
        .store
        .rotate_endpoint_secret(&made.endpoint.id, &anna(START))
        .await
        .unwrap();
    assert_ne!(made.secret, rotated.secret);
    setup.queue().await;
    let secrets = |due: &[DueDelivery]| -> Vec<WebhookSecret> { due[0].secrets.clone() };
    let due = setup.store.due(instant(START), 1).await.unwrap();
    assert_eq!(secrets(&due), [rotated.secret.clone(), made.secret]);
    let due = setup.store.due(instant(START + 86_400), 1).await.unwrap();
    assert_eq!(secrets(&due), [rotated.secret]);
}
