//! The conformance suite of [`Source`]: what every source must do, checked against a source made anew as often as needed.
//!
//! It is for tests, of this crate and of others that bring a source of their own. It panics where a promise is broken.

use domain::{PartitionId, Position, Positions};

use crate::decode::{DecodeLimits, decode};
use crate::source::{Source, SourceEvent};

/// How often a source may say [`SourceEvent::Idle`] in a row before it is taken to have given everything.
const IDLE_LIMIT: usize = 3;

/// One batch as the suite remembers it.
struct Given {
    partition: PartitionId,
    end: Position,
    records: Vec<String>,
}

/// Checks all promises. `make` gives a new source over the same content each time; `expected` are the texts of all records
/// of each partition in order, as `event_id`s for events and as bytes for rejections.
///
/// # Panics
/// When the source breaks a promise; the text says which.
pub async fn check_source<S: Source>(mut make: impl FnMut() -> S, expected: &[Vec<String>]) {
    let all = read_from(&mut make(), &Positions::new(), usize::MAX).await;
    let mut given: Vec<Vec<String>> = partitions(&all).iter().map(|id| records_of(&all, id)).collect();
    let mut wanted: Vec<Vec<String>> = expected
        .iter()
        .filter(|records| !records.is_empty())
        .cloned()
        .collect();
    given.retain(|records| !records.is_empty());
    given.sort();
    wanted.sort();
    assert_eq!(
        given, wanted,
        "a source gives every record of every partition, once and in order"
    );
    ends_ascend(&all);
    restart_gives_the_rest(&mut make, &all).await;
    commits_may_repeat(&mut make, &all).await;
    dropped_futures_lose_nothing(&mut make, &all).await;
}

fn ends_ascend(all: &[Given]) {
    let mut positions = Positions::new();
    for batch in all {
        if let Some(before) = positions.insert(batch.partition.clone(), batch.end.clone()) {
            let order = before.partial_cmp(&batch.end);
            assert!(
                order.is_some_and(std::cmp::Ordering::is_le),
                "positions of a partition ascend"
            );
        }
    }
}

/// Whatever was the last commit, a new source gives exactly what came after it.
async fn restart_gives_the_rest<S: Source>(make: &mut impl FnMut() -> S, all: &[Given]) {
    for taken in 0..=all.len() {
        let positions = positions_after(&all[..taken]);
        let rest = read_from(&mut make(), &positions, usize::MAX).await;
        for partition in partitions(all) {
            let expected = records_of(&all[taken..], &partition);
            let got = records_of(&rest, &partition);
            assert_eq!(
                got, expected,
                "a restart after {taken} batches gives exactly the rest of {partition}"
            );
        }
    }
}

/// A commit may be told twice, and while reading goes on.
async fn commits_may_repeat<S: Source>(make: &mut impl FnMut() -> S, all: &[Given]) {
    let mut source = make();
    source
        .start(&Positions::new())
        .await
        .expect("a source starts from nothing");
    let mut again = Vec::new();
    while let Some(batch) = next_batch(&mut source).await {
        again.push(batch);
        let positions = positions_after(&again);
        for _ in 0..2 {
            source
                .committed(&positions)
                .await
                .expect("a commit may be told again");
        }
    }
    assert_same(all, &again, "commits change nothing of what is read");
}

/// The future of `next` may be dropped at any moment.
async fn dropped_futures_lose_nothing<S: Source>(make: &mut impl FnMut() -> S, all: &[Given]) {
    let mut source = make();
    source
        .start(&Positions::new())
        .await
        .expect("a source starts from nothing");
    let mut again = Vec::new();
    loop {
        // One poll, then the future is dropped; what it gave at once is kept.
        let polled = std::future::poll_fn(|context| {
            let mut next = source.next();
            std::task::Poll::Ready(next.as_mut().poll(context))
        });
        let event = match polled.await {
            std::task::Poll::Ready(event) => event.expect("reading succeeds"),
            std::task::Poll::Pending => {
                tokio::task::yield_now().await;
                match next_batch(&mut source).await {
                    Some(batch) => {
                        again.push(batch);
                        continue;
                    }
                    None => break,
                }
            }
        };
        match event {
            SourceEvent::Batch(raw) => again.push(remember(raw)),
            SourceEvent::Finished => break,
            SourceEvent::Idle => {}
        }
    }
    assert_same(all, &again, "a dropped future loses nothing");
}

fn assert_same(all: &[Given], again: &[Given], promise: &str) {
    for partition in partitions(all) {
        assert_eq!(
            records_of(again, &partition),
            records_of(all, &partition),
            "{promise}"
        );
    }
}

async fn read_from(source: &mut impl Source, positions: &Positions, batch_count: usize) -> Vec<Given> {
    source
        .start(positions)
        .await
        .expect("a source starts where it was");
    let mut given = Vec::new();
    while given.len() < batch_count {
        match next_batch(source).await {
            Some(batch) => given.push(batch),
            None => break,
        }
    }
    given
}

/// The next batch; nothing at the end, or when there has been nothing for some time.
async fn next_batch(source: &mut impl Source) -> Option<Given> {
    for _ in 0..IDLE_LIMIT {
        match source.next().await.expect("reading succeeds") {
            SourceEvent::Batch(raw) => return Some(remember(raw)),
            SourceEvent::Finished => return None,
            SourceEvent::Idle => {}
        }
    }
    None
}

fn remember(raw: crate::RawBatch) -> Given {
    let batch = decode(raw, &DecodeLimits::default());
    let mut records: Vec<String> = batch
        .events
        .iter()
        .map(|event| batch.text(event.event_id).to_owned())
        .collect();
    records.extend(
        batch
            .rejections
            .iter()
            .map(|bad| String::from_utf8_lossy(&bad.payload).into_owned()),
    );
    Given {
        partition: batch.partition,
        end: batch.end,
        records,
    }
}

fn partitions(all: &[Given]) -> Vec<PartitionId> {
    let mut ids: Vec<PartitionId> = all.iter().map(|batch| batch.partition.clone()).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn records_of(all: &[Given], partition: &PartitionId) -> Vec<String> {
    all.iter()
        .filter(|batch| batch.partition == *partition)
        .flat_map(|batch| batch.records.clone())
        .collect()
}

fn positions_after(batches: &[Given]) -> Positions {
    batches
        .iter()
        .map(|batch| (batch.partition.clone(), batch.end.clone()))
        .collect()
}
