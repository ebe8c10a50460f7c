//! Several sources as one: each keeps its own partitions, and none waits for another.
//!
//! The sources are asked in turn, so that a busy one does not keep a quiet one from being heard. Starts and commits go to
//! all of them: each picks the partitions that it knows.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use async_trait::async_trait;
use domain::Positions;

use crate::error::IngestError;
use crate::source::{Source, SourceEvent};

/// A source over several others, which finishes when all of them have.
pub struct MergedSource {
    sources: Vec<Part>,
    /// The place of the source that is asked first.
    turn: usize,
}

struct Part {
    source: Box<dyn Source>,
    finished: bool,
}

type Next<'a> = Pin<Box<dyn Future<Output = Result<SourceEvent, IngestError>> + Send + 'a>>;

impl MergedSource {
    /// A source over all of these.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Self {
        let part = |source| Part {
            source,
            finished: false,
        };
        Self {
            sources: sources.into_iter().map(part).collect(),
            turn: 0,
        }
    }
}

#[async_trait]
impl Source for MergedSource {
    async fn start(&mut self, positions: &Positions) -> Result<(), IngestError> {
        for part in &mut self.sources {
            part.source.start(positions).await?;
            part.finished = false;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<SourceEvent, IngestError> {
        loop {
            let count = self.sources.len();
            let turn = self.turn;
            let mut asked: Vec<(usize, Next<'_>)> = Vec::with_capacity(count);
            for (place, part) in self
                .sources
                .iter_mut()
                .enumerate()
                .filter(|(_, part)| !part.finished)
            {
                asked.push((place, part.source.next()));
            }
            if asked.is_empty() {
                return Ok(SourceEvent::Finished);
            }
            asked.sort_by_key(|(place, _)| (place + count - turn) % count);
            // The futures of the others are dropped when one has answered, which loses none of their records.
            let (place, event) = std::future::poll_fn(|context| {
                for (place, next) in &mut asked {
                    if let Poll::Ready(event) = next.as_mut().poll(context) {
                        return Poll::Ready((*place, event));
                    }
                }
                Poll::Pending
            })
            .await;
            drop(asked);
            self.turn = (place + 1) % count;
            match event {
                Ok(SourceEvent::Finished) => self.sources[place].finished = true,
                other => return other,
            }
        }
    }

    async fn committed(&mut self, positions: &Positions) -> Result<(), IngestError> {
        for part in &mut self.sources {
            part.source.committed(positions).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use domain::{PartitionId, Position, Timestamp};

    use super::*;
    use crate::conformance::check_source;
    use crate::source::{RawBatch, RecordLayout};
    use crate::sources::file::FileSource;

    fn lines(first: usize, count: usize) -> (String, Vec<String>) {
        let pad = "x".repeat(900);
        let line = |id: usize| {
            format!(
                r#"{{"event_id":"e{id}","type":"track","ts":"2026-01-01T00:00:00Z","user_id":"u","event":"buy","properties":{{"pad":"{pad}"}}}}"#
            )
        };
        let text: Vec<String> = (first..first + count).map(line).collect();
        (
            text.join("\n"),
            (first..first + count).map(|id| format!("e{id}")).collect(),
        )
    }

    fn files(paths: &[&Path]) -> MergedSource {
        let source = |path: &&Path| {
            Box::new(FileSource::new(vec![path.to_path_buf()], Timestamp(0))) as Box<dyn Source>
        };
        MergedSource::new(paths.iter().map(source).collect())
    }

    #[tokio::test]
    async fn two_sources_together_keep_the_promises_of_one() {
        // What must never change: merging loses, repeats and reorders nothing within a partition.
        let folder = tempfile::tempdir().unwrap();
        let (left, right) = (
            folder.path().join("left.ndjson"),
            folder.path().join("right.ndjson"),
        );
        let ((left_text, left_ids), (right_text, right_ids)) = (lines(0, 2_500), lines(2_500, 1_200));
        std::fs::write(&left, left_text).unwrap();
        std::fs::write(&right, right_text).unwrap();
        check_source(|| files(&[&left, &right]), &[left_ids, right_ids]).await;
    }

    /// Always has something to say.
    struct Endless(&'static str);

    #[async_trait]
    impl Source for Endless {
        async fn start(&mut self, _positions: &Positions) -> Result<(), IngestError> {
            Ok(())
        }

        async fn next(&mut self) -> Result<SourceEvent, IngestError> {
            Ok(SourceEvent::Batch(RawBatch {
                partition: PartitionId(self.0.into()),
                bytes: Vec::new(),
                records: RecordLayout::Lines { first_offset: 0 },
                end: Position::Offset(0),
                received_at: Timestamp(0),
                live: true,
            }))
        }

        async fn committed(&mut self, _positions: &Positions) -> Result<(), IngestError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn busy_sources_are_heard_in_turn() {
        // What must never change: no source is starved by another that always has records.
        let mut merged = MergedSource::new(vec![
            Box::new(Endless("a")),
            Box::new(Endless("b")),
            Box::new(Endless("c")),
        ]);
        merged.start(&Positions::new()).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..6 {
            if let SourceEvent::Batch(batch) = merged.next().await.unwrap() {
                heard.push(batch.partition.0);
            }
        }
        assert_eq!(heard, ["a", "b", "c", "a", "b", "c"]);
    }
}
