//! An audit trail that somebody has been at: every way of changing it is found and named.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::audit::{Checkpoint, Finding, Notary, PublicKey, Verified, read_checkpoints, verify};
use crate::test_support::{ManualClock, Place, on_both_stores};

on_both_stores! {
    a_trail_that_nobody_touched_is_whole,
    every_edit_of_every_column_is_found,
    what_was_taken_out_put_in_or_moved_is_found,
    a_chain_that_was_computed_anew_does_not_agree_with_its_checkpoints,
    a_checkpoint_that_was_not_signed_here_is_found,
    checkpoints_come_with_records_and_with_time,
    what_was_kept_long_enough_goes_with_a_signed_word,
    records_from_before_the_chain_are_taken_into_it,
}

/// Records of each trail below.
const RECORDS: i64 = 12;

struct Trail {
    place: Place,
    store: Store,
    clock: Arc<ManualClock>,
}

impl Trail {
    /// A trail with a checkpoint after half of its records and one at its end.
    async fn written() -> Self {
        let (place, store) = open().await;
        let clock = Arc::new(ManualClock::at(1_000));
        let trail = Self { place, store, clock };
        trail.store.create(&flag(), &anna(1)).await.unwrap();
        let mut notary = trail.notary(36_500);
        for version in 1..RECORDS {
            if version == RECORDS / 2 {
                notary.look(true).await.unwrap();
            }
            trail
                .store
                .update(&flag(), version, &anna(version))
                .await
                .unwrap();
        }
        notary.look(true).await.unwrap();
        trail
    }

    fn place(&self) -> PathBuf {
        self.place.folder().join("audit")
    }

    fn notary(&self, kept_days: u32) -> Notary {
        Notary::open(self.store.clone(), self.clock.clone(), &self.place(), kept_days).unwrap()
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        read_checkpoints(&self.place().join("checkpoints.jsonl")).unwrap()
    }

    async fn verified(&self) -> Result<Verified, Finding> {
        let key = PublicKey::read(&self.place().join("public-key")).unwrap();
        verify(&self.store, &self.checkpoints(), &key).await.unwrap()
    }

    /// Changes the file as somebody would who can write it.
    async fn tamper(&self, statements: &[&'static str]) {
        let first = "DROP TRIGGER IF EXISTS audit_is_never_changed";
        for sql in std::iter::once(&first).chain(statements) {
            self.store.run_sql(sql).await;
        }
    }

    /// Computes the whole chain anew, as somebody would who knows how it is made.
    async fn restamp(&self) {
        self.tamper(&["UPDATE audit SET hash = NULL"]).await;
        let mut write = self.store.begin().await.unwrap();
        chain::chain_older(&mut write).await.unwrap();
        self.store.commit_quietly(write).await.unwrap();
    }
}

async fn a_trail_that_nobody_touched_is_whole() {
    let trail = Trail::written().await;
    let verified = trail.verified().await.unwrap();
    assert_eq!((verified.records, verified.checkpoints), (12, 2));
    assert_eq!(verified.head, trail.store.audit_head().await.unwrap());
    let exported = trail.store.audit_after(10, 100).await.unwrap();
    assert_eq!(exported.len(), 2);
    assert_eq!(exported[1].hash, verified.head.hex());
    assert_eq!(exported[1].record.seq, 12);
}

async fn every_edit_of_every_column_is_found() {
    // What must never change: a record that says something else than it said is named.
    for sql in [
        "UPDATE audit SET at = at + 1 WHERE seq = 5",
        "UPDATE audit SET actor = 'person:eve' WHERE seq = 5",
        "UPDATE audit SET action = 'create' WHERE seq = 5",
        "UPDATE audit SET kind = 'metric' WHERE seq = 5",
        "UPDATE audit SET key = 'other' WHERE seq = 5",
        "UPDATE audit SET before = after || ' ' WHERE seq = 5",
        "UPDATE audit SET after = NULL WHERE seq = 5",
        "UPDATE audit SET reason = 'because' WHERE seq = 5",
        "UPDATE audit SET origin = 'elsewhere' WHERE seq = 5",
        "UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 4) WHERE seq = 5",
        "UPDATE audit SET hash = NULL WHERE seq = 5",
    ] {
        let trail = Trail::written().await;
        trail.tamper(&[sql]).await;
        assert_eq!(trail.verified().await, Err(Finding::Changed { seq: 5 }), "{sql}");
    }
}

async fn what_was_taken_out_put_in_or_moved_is_found() {
    // What must never change: the order and the number of records are part of what they say.
    let cases: [(&[&'static str], Finding); 7] = [
        (
            &["DELETE FROM audit WHERE seq = 1"],
            Finding::Missing { from: 1, to: 1 },
        ),
        (
            &["DELETE FROM audit WHERE seq IN (5, 6)"],
            Finding::Missing { from: 5, to: 6 },
        ),
        (
            &[
                "DELETE FROM audit WHERE seq = 5",
                "UPDATE audit SET seq = seq - 1 WHERE seq > 5",
            ],
            Finding::Changed { seq: 5 },
        ),
        (
            &[
                "UPDATE audit SET seq = 99 WHERE seq = 5",
                "UPDATE audit SET seq = 5 WHERE seq = 6",
                "UPDATE audit SET seq = 6 WHERE seq = 99",
            ],
            Finding::Changed { seq: 5 },
        ),
        (
            &["INSERT INTO audit (seq, at, actor, action, kind, key, hash)
               SELECT 13, at, actor, action, kind, key, hash FROM audit WHERE seq = 12"],
            Finding::Changed { seq: 13 },
        ),
        (
            &["INSERT INTO audit (seq, at, actor, action, kind, key, hash)
               SELECT -1, at, actor, action, kind, key, hash FROM audit WHERE seq = 12"],
            Finding::Changed { seq: -1 },
        ),
        (
            &["DELETE FROM audit WHERE seq > 10"],
            Finding::Truncated { seq: 10, signed: 12 },
        ),
    ];
    for (statements, expected) in cases {
        let trail = Trail::written().await;
        trail.tamper(statements).await;
        assert_eq!(trail.verified().await, Err(expected), "{statements:?}");
    }
}

async fn a_chain_that_was_computed_anew_does_not_agree_with_its_checkpoints() {
    // What must never change: whoever can write the store cannot rewrite what was signed.
    let trail = Trail::written().await;
    trail
        .tamper(&["UPDATE audit SET actor = 'person:eve' WHERE seq = 5"])
        .await;
    trail.restamp().await;
    assert_eq!(trail.verified().await, Err(Finding::Restamped { seq: 6 }));
    let trail = Trail::written().await;
    trail.tamper(&["DELETE FROM audit"]).await;
    assert_eq!(
        trail.verified().await,
        Err(Finding::Truncated { seq: 0, signed: 12 })
    );
}

async fn a_checkpoint_that_was_not_signed_here_is_found() {
    let trail = Trail::written().await;
    let file = trail.place().join("checkpoints.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("\"seq\":6", "\"seq\":7"),
        ("\"pruned\":false", "\"pruned\":true"),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        assert!(
            matches!(trail.verified().await, Err(Finding::ForgedCheckpoint { .. })),
            "{to}"
        );
    }
    // A last line that a crash cut off says nothing, and does not spoil the next.
    std::fs::write(&file, format!("{text}{{\"seq\":")).unwrap();
    assert_eq!(trail.verified().await.unwrap().checkpoints, 2);
    trail.store.update(&flag(), RECORDS, &anna(99)).await.unwrap();
    trail.notary(36_500).look(true).await.unwrap();
    assert_eq!(trail.verified().await.unwrap().checkpoints, 3);
}

async fn checkpoints_come_with_records_and_with_time() {
    let trail = Trail::written().await;
    let mut notary = trail.notary(36_500);
    let before = trail.checkpoints().len();
    trail.store.update(&flag(), RECORDS, &anna(20)).await.unwrap();
    notary.look(false).await.unwrap();
    assert_eq!(trail.checkpoints().len(), before, "one record, no time");
    trail.clock.advance(60);
    notary.look(false).await.unwrap();
    notary.look(false).await.unwrap();
    assert_eq!(trail.checkpoints().len(), before + 1);
    for version in RECORDS + 1..RECORDS + 101 {
        trail.store.update(&flag(), version, &anna(20)).await.unwrap();
    }
    notary.look(false).await.unwrap();
    assert_eq!(
        trail.checkpoints().len(),
        before + 2,
        "a hundred records, no time"
    );
    trail.verified().await.unwrap();
}

async fn what_was_kept_long_enough_goes_with_a_signed_word() {
    let trail = Trail::written().await;
    // The records are of the seconds 1 to 11; a day later those before second 6 are older than a day.
    trail.clock.advance(86_400 + 6 - 1_000);
    trail.notary(1).look(false).await.unwrap();
    let kept = trail.store.audit_after(0, 100).await.unwrap();
    assert_eq!(kept.first().unwrap().record.at, instant(6));
    let verified = trail.verified().await.unwrap();
    assert_eq!(verified.records, kept.len() as u64);
    // The same gap without the word is a gap.
    let file = trail.place().join("checkpoints.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let without: String = text
        .lines()
        .filter(|line| line.contains("\"pruned\":false"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, without).unwrap();
    assert!(matches!(
        trail.verified().await,
        Err(Finding::Missing { from: 1, .. })
    ));
}

async fn records_from_before_the_chain_are_taken_into_it() {
    // What must never change: a store written by an older version opens, and its trail can be verified from then on.
    let trail = Trail::written().await;
    trail.tamper(&["UPDATE audit SET hash = NULL"]).await;
    trail.store.close().await;
    let store = trail.place.open().await;
    let key = PublicKey::read(&trail.place().join("public-key")).unwrap();
    let verified = verify(&store, &trail.checkpoints(), &key).await.unwrap().unwrap();
    assert_eq!((verified.records, verified.checkpoints), (12, 2));
}
