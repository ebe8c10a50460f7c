//! The whole source against a stream in memory, with time standing still: order, restarts, faults, pace, memory.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::Timestamp;
use proptest::prelude::*;

use super::api::CallErrorKind::{NotFound, Permanent, StaleIterator, Throttled, Transient};
use super::fake::FakeStream;
use super::*;
use crate::kpl::tests::{Put, pack};
use crate::source::RecordLayout;

const USERS: [&str; 7] = ["ada", "bob", "cyd", "dee", "eve", "fay", "gus"];

fn settings() -> KinesisSettings {
    let clock: Clock = Arc::new(|| Timestamp(86_400_000_000_000));
    let mut settings = KinesisSettings::new("s", "eu-central-1", clock);
    // Each user record is a batch, so that every position is tried.
    settings.limits.batch_bytes = 1;
    settings
}

async fn start(stream: &Arc<FakeStream>, settings: KinesisSettings, positions: &Positions) -> KinesisSource {
    let mut source = KinesisSource::with_api(Arc::clone(stream) as Arc<dyn ShardApi>, settings);
    source.start(positions).await.unwrap();
    source
}

/// What a batch brought: its partition, its end and its records as texts.
type Taken = (PartitionId, Position, Vec<String>);

fn taken(batch: RawBatch) -> Taken {
    let RecordLayout::Listed(records) = &batch.records else {
        panic!("listed records");
    };
    let text = |(record, _): &(crate::RawRecord, String)| {
        let bytes = &batch.bytes[record.start as usize..][..record.length as usize];
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let texts = records.iter().map(text).collect();
    (batch.partition, batch.end, texts)
}

/// Takes batches until the source has been idle for longer than any wait.
async fn drain(source: &mut KinesisSource) -> Vec<Taken> {
    drain_beyond(source, 0).await
}

/// Takes batches until this many records came and the source has been idle for longer than any wait; errors that pass
/// are passed over.
async fn drain_beyond(source: &mut KinesisSource, count: usize) -> Vec<Taken> {
    let mut all = Vec::new();
    let (mut idle_count, mut total_idle_count) = (0, 0);
    while idle_count < 30 || texts(&all).len() < count {
        total_idle_count += 1;
        assert!(
            total_idle_count < 10_000,
            "{} of {count} records came",
            texts(&all).len()
        );
        match source.next().await {
            Ok(SourceEvent::Batch(batch)) => {
                all.push(taken(batch));
                idle_count = 0;
            }
            Ok(SourceEvent::Idle) => idle_count += 1,
            Ok(SourceEvent::Finished) => panic!("a stream does not finish"),
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    all
}

fn texts<'a>(batches: impl IntoIterator<Item = &'a Taken>) -> Vec<String> {
    batches.into_iter().flat_map(|batch| batch.2.clone()).collect()
}

/// The texts of each user, which are `user number`, in the order given.
fn by_user(texts: &[String]) -> BTreeMap<String, Vec<u32>> {
    let mut users: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for text in texts {
        let (user, number) = text.split_once(' ').unwrap();
        users
            .entry(user.into())
            .or_default()
            .push(number.parse().unwrap());
    }
    users
}

fn put_round(stream: &FakeStream, number: u32) {
    for user in USERS {
        stream.put(user, format!("{user} {number}"));
    }
}

/// A stream that was split twice and merged once, with a record of each user before and after each change, aggregates
/// and lines among them.
fn resharded() -> (Arc<FakeStream>, u32) {
    let stream = FakeStream::new(2, 3);
    put_round(&stream, 0);
    let [_, upper] = stream.split("shardId-000000000000");
    put_round(&stream, 1);
    let merged = stream.merge(&upper, "shardId-000000000001");
    for user in USERS {
        stream.put(
            user,
            pack(&[
                Put::new(user, format!("{user} 2\n{user} 3")),
                Put::new(user, format!("{user} 4")),
            ]),
        );
    }
    stream.split(&merged);
    put_round(&stream, 5);
    (Arc::new(stream), 6)
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_key_outlives_splits_and_merges() {
    // What must never change: the records of a user are given in the order in which they were put, each once.
    let (stream, count) = resharded();
    let mut source = start(&stream, settings(), &Positions::new()).await;
    let batches = drain(&mut source).await;
    let users = by_user(&texts(&batches));
    assert_eq!(users.len(), USERS.len());
    for (user, numbers) in users {
        assert_eq!(numbers, (0..count).collect::<Vec<u32>>(), "{user}");
    }
    let ended: Vec<&PartitionId> = batches
        .iter()
        .filter(|batch| batch.1 == Position::End)
        .map(|batch| &batch.0)
        .collect();
    let ended_ids: BTreeSet<&str> = ended
        .iter()
        .map(|partition| shard_id("s", partition).unwrap())
        .collect();
    let expected = [0, 1, 3, 4].map(|number| format!("shardId-{number:012}"));
    assert_eq!(
        (ended.len(), ended_ids),
        (4, expected.iter().map(String::as_str).collect())
    );
    source.close().await;
}

#[tokio::test(start_paused = true)]
async fn every_position_can_be_restarted_from() {
    // What must never change: after a crash at any commit, exactly the records after it are given again.
    let (stream, _) = resharded();
    let all = drain(&mut start(&stream, settings(), &Positions::new()).await).await;
    for committed in 0..=all.len() {
        let positions: Positions = all[..committed]
            .iter()
            .map(|(id, end, _)| (id.clone(), end.clone()))
            .collect();
        let rest = drain(&mut start(&stream, settings(), &positions).await).await;
        let expected = by_user(&texts(&all[committed..]));
        assert_eq!(by_user(&texts(&rest)), expected, "after {committed} batches");
        let ends = |batches: &[Taken]| -> Positions {
            batches
                .iter()
                .map(|(id, end, _)| (id.clone(), end.clone()))
                .collect()
        };
        assert_eq!(ends(&rest), ends(&all[committed..]), "after {committed} batches");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_source() {
    let (stream, mut ids) = (
        Arc::new(FakeStream::new(1, 3)),
        vec![Vec::new(), Vec::new(), Vec::new()],
    );
    let mut put = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let user = USERS[number % USERS.len()];
            let id = format!("{user}-{number}");
            let event = format!(
                r#"{{"event_id":"{id}","type":"track","ts":"1970-01-01T00:00:00Z","user_id":"{user}","event":"click"}}"#
            );
            stream.put(user, event);
            let hash = crate::kpl::hash_of(user.as_bytes());
            let open = stream.open_shards();
            let shard = if open.len() == 1 {
                0
            } else {
                1 + usize::from(hash > u128::MAX / 2)
            };
            ids[shard].push(id);
        }
    };
    put(0..9);
    stream.split("shardId-000000000000");
    put(9..18);
    let settings = settings();
    let make = || KinesisSource::with_api(Arc::clone(&stream) as Arc<dyn ShardApi>, settings.clone());
    crate::conformance::check_source(make, &ids).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_changes_while_it_is_read_is_read_whole() {
    let stream = Arc::new(FakeStream::new(1, 2));
    stream.hide_children();
    let mut source = start(&stream, settings(), &Positions::new()).await;
    let mut all = Vec::new();
    for number in 0..6 {
        put_round(&stream, number);
        let open = stream.open_shards();
        if number % 3 < 2 {
            stream.split(&open[0]);
        } else {
            // The last two that were added are the halves of one.
            stream.merge(&open[open.len() - 2], &open[open.len() - 1]);
        }
        if number % 2 == 1 {
            all.extend(drain(&mut source).await);
        }
    }
    all.extend(drain(&mut source).await);
    for (user, numbers) in by_user(&texts(&all)) {
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_next_loses_nothing() {
    let (stream, count) = resharded();
    let mut source = start(&stream, settings(), &Positions::new()).await;
    let mut all = Vec::new();
    for _ in 0..100_000 {
        match tokio::time::timeout(Duration::from_millis(7), source.next()).await {
            Ok(Ok(SourceEvent::Batch(batch))) => all.push(taken(batch)),
            Ok(Ok(_)) => panic!("idle only after a second"),
            Ok(Err(error)) => panic!("{error:?}"),
            Err(_) => {}
        }
        if texts(&all).len() == USERS.len() * count as usize {
            return;
        }
    }
    panic!("not all records came: {all:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_keep_within_the_limits() {
    // What must never change: no shard is called more than five times a second, and seldom at its tip.
    let stream = Arc::new(FakeStream::new(2, 1));
    (0..4).for_each(|number| put_round(&stream, number));
    let mut source = start(&stream, settings(), &Positions::new()).await;
    drain(&mut source).await;
    let calls = stream.calls();
    for shard in stream.open_shards() {
        let calls: Vec<_> = calls.iter().filter(|call| call.shard_id == shard).collect();
        let waits: Vec<Duration> = calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        assert!(
            waits.len() > 30 && waits.iter().all(|&wait| wait >= Duration::from_millis(200)),
            "{waits:?}"
        );
        assert!(
            waits[waits.len() - 30..]
                .iter()
                .all(|&wait| wait >= Duration::from_secs(1)),
            "{waits:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn large_answers_are_paid_for_by_waiting() {
    let stream = Arc::new(FakeStream::new(1, 1));
    for _ in 0..3 {
        stream.put("k", vec![b'x'; 4 * 1024 * 1024]);
    }
    let mut source = start(&stream, settings(), &Positions::new()).await;
    drain(&mut source).await;
    let calls = stream.calls();
    assert!(
        calls
            .windows(2)
            .take(3)
            .all(|pair| pair[1].at - pair[0].at >= Duration::from_secs(2)),
        "{calls:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn throttles_are_no_errors() {
    let stream = Arc::new(FakeStream::new(1, 100));
    put_round(&stream, 0);
    for operation in ["list_shards", "get_shard_iterator", "get_records"] {
        stream.fail(operation, &[Throttled; 4]);
    }
    let mut source = start(&stream, settings(), &Positions::new()).await;
    let mut batches = Vec::new();
    while batches.len() < USERS.len() {
        match source.next().await.unwrap() {
            SourceEvent::Batch(batch) => batches.push(taken(batch)),
            SourceEvent::Idle => {}
            SourceEvent::Finished => panic!("a stream does not finish"),
        }
    }
    let calls = stream.calls();
    let waits: Vec<u64> = calls
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_secs())
        .collect();
    assert_eq!(
        waits,
        [16, 10, 10, 10].map(|wait: u64| wait.min(10)),
        "doubled from the refused iterators on"
    );
}

#[tokio::test(start_paused = true)]
async fn lasting_failures_are_told_and_reading_goes_on() {
    let stream = Arc::new(FakeStream::new(1, 100));
    put_round(&stream, 0);
    stream.fail("get_records", &[Transient; 7]);
    stream.fail("get_records", &[Permanent]);
    let mut source = start(&stream, settings(), &Positions::new()).await;
    let (mut errors, mut count) = (Vec::new(), 0);
    while count < USERS.len() {
        match source.next().await {
            Ok(SourceEvent::Batch(_)) => count += 1,
            Ok(_) => {}
            Err(error) => errors.push(error.is_transient()),
        }
    }
    assert_eq!(errors, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_is_an_error_and_no_end() {
    // What must never change: positions of a stream that is gone are kept, as its data may be needed yet.
    let (stream, _) = resharded();
    let mut source = start(&stream, settings(), &Positions::new()).await;
    drain(&mut source).await;
    stream.delete();
    for _ in 0..300 {
        match source.next().await {
            Ok(SourceEvent::Batch(batch)) => panic!("{batch:?}"),
            Ok(_) => {}
            Err(error) => {
                assert!(!error.is_transient());
                return;
            }
        }
    }
    panic!("nothing was told");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_shard_ends_and_its_children_are_read() {
    let (stream, _) = resharded();
    let lost = "shardId-000000000000";
    let positions = Positions::from([(
        partition_id("s", lost),
        Position::Sequence {
            sequence: "1".into(),
            sub_sequence: 0,
        },
    )]);
    stream.forget(lost);
    let batches = drain(&mut start(&stream, settings(), &positions).await).await;
    let of_lost: Vec<&Taken> = batches
        .iter()
        .filter(|batch| batch.0 == partition_id("s", lost))
        .collect();
    assert_eq!(of_lost, [&(partition_id("s", lost), Position::End, Vec::new())]);
    for (user, numbers) in by_user(&texts(&batches)) {
        assert_eq!(numbers[numbers.len() - 5..], [1, 2, 3, 4, 5], "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_start_gives_what_comes_from_then_on() {
    let stream = Arc::new(FakeStream::new(2, 3));
    put_round(&stream, 0);
    let mut latest = settings();
    latest.start_at = StartAt::Latest;
    let mut source = start(&stream, latest, &Positions::new()).await;
    assert_eq!(drain(&mut source).await, []);
    stream.split("shardId-000000000000");
    put_round(&stream, 1);
    let all = texts(&drain(&mut source).await);
    assert_eq!(
        by_user(&all),
        USERS.iter().map(|&user| (user.to_owned(), vec![1])).collect()
    );
}

#[tokio::test(start_paused = true)]
async fn workers_share_out_the_shards() {
    // What must never change: what one worker leaves out the other reads, and parents come first between workers too.
    let (stream, count) = resharded();
    let mine: BTreeSet<String> = [0, 3, 4].map(|number| format!("shardId-{number:012}")).into();
    let others: BTreeSet<String> = [1, 2, 5, 6].map(|number| format!("shardId-{number:012}")).into();
    let mut workers = Vec::new();
    for owned in [mine, others] {
        let mut settings = settings();
        settings.owned_shards = OwnedShards::Only(owned);
        workers.push(start(&stream, settings, &Positions::new()).await);
    }
    let (mut all, mut positions) = (Vec::new(), Positions::new());
    for _ in 0..4 {
        for worker in &mut workers {
            worker.committed(&positions).await.unwrap();
            let batches = drain(worker).await;
            positions.extend(batches.iter().map(|(id, end, _)| (id.clone(), end.clone())));
            all.extend(batches);
        }
    }
    for (user, numbers) in by_user(&texts(&all)) {
        assert_eq!(numbers, (0..count).collect::<Vec<u32>>(), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_taken_is_bounded() {
    // What must never change: a slow consumer costs a set amount of memory, however much the stream holds.
    let stream = Arc::new(FakeStream::new(4, 1));
    let megabytes = 6;
    for number in 0..60 {
        stream.put(&format!("user {number}"), vec![b'x'; megabytes * 1024 * 1024]);
    }
    let mut settings = settings();
    settings.limits.prefetch_bytes = 20 * 1024 * 1024;
    let limit = settings.limits.prefetch_bytes / (megabytes * 1024 * 1024);
    let mut source = start(&stream, settings, &Positions::new()).await;
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    // As many answers, and as many opened batches; the pages that follow wait for the taking.
    let calls = stream.calls().len();
    assert!(
        calls <= 2 * limit,
        "{calls} answers of {megabytes} MiB were asked for"
    );
    assert_eq!(texts(&drain(&mut source).await).len(), 60);
}

#[tokio::test(start_paused = true)]
async fn positions_of_another_kind_are_refused() {
    let stream = Arc::new(FakeStream::new(1, 1));
    let mut source = KinesisSource::with_api(stream, settings());
    let wrong = Positions::from([(partition_id("s", "shardId-000000000000"), Position::Offset(3))]);
    assert!(matches!(
        source.start(&wrong).await,
        Err(IngestError::BadPosition { .. })
    ));
    // Another stream's positions are none of this one's.
    let other = Positions::from([(partition_id("s2", "shardId-000000000000"), Position::Offset(3))]);
    source.start(&other).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_sequence_of_faults_loses_or_repeats_a_record(
        faults in proptest::collection::vec((0..3_usize, 0..4_usize), 0..60),
        expire_after in 0..30_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (stream, count) = resharded();
            let mut source = start(&stream, settings(), &Positions::new()).await;
            for &(operation, kind) in &faults {
                let operation = ["list_shards", "get_shard_iterator", "get_records"][operation];
                // A listing that says that the stream is gone is told at once, and is tried elsewhere.
                let kind = [Throttled, Transient, StaleIterator, NotFound][kind];
                let kind = if operation == "list_shards" && kind == NotFound { Transient } else { kind };
                stream.fail(operation, &[kind]);
            }
            let mut all = Vec::new();
            while all.len() < expire_after {
                match source.next().await {
                    Ok(SourceEvent::Batch(batch)) => all.push(taken(batch)),
                    Ok(_) => {}
                    Err(error) => assert!(error.is_transient(), "{error:?}"),
                }
            }
            stream.expire_iterators();
            let left = USERS.len() * count as usize - texts(&all).len();
            all.extend(drain_beyond(&mut source, left).await);
            for (user, numbers) in by_user(&texts(&all)) {
                assert_eq!(numbers, (0..count).collect::<Vec<u32>>(), "{user}");
            }
        });
    }
}
