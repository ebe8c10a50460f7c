//! The log under crashes, damage, full disks and failing syncs.

use std::io::{Error, ErrorKind, Result as IoResult};
use std::sync::atomic::AtomicUsize;

use domain::{PartitionId, Position, Positions};

use super::disk::SegmentFile;
use super::frame::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::*;
use crate::source::{Source, SourceEvent};
use crate::sources::log::{LOG_PARTITION, LogSource};

const SMALL: LogSettings = LogSettings {
    segment_bytes: 2_000,
    max_held_bytes: 1_000_000,
    queue_length: 16,
};

fn frame(number: usize) -> Frame {
    Frame {
        received_at: Timestamp(number as i64),
        records: format!("record {number}").into_bytes(),
        record_count: 1,
    }
}

fn open(folder: &Path) -> EmbeddedLog {
    EmbeddedLog::open(folder, SMALL).unwrap().0
}

async fn append_all(log: &EmbeddedLog, numbers: std::ops::Range<usize>) {
    for number in numbers {
        log.append(frame(number)).await.unwrap();
    }
}

/// All records after a position, or the error that ended reading.
async fn read_from(log: &EmbeddedLog, position: Option<u64>) -> Result<Vec<String>, IngestError> {
    let positions: Positions = position
        .map(|offset| (PartitionId(LOG_PARTITION.into()), Position::Offset(offset)))
        .into_iter()
        .collect();
    let mut source = LogSource::new(log.clone());
    source.start(&positions).await?;
    let mut text = Vec::new();
    let mut reached = position.unwrap_or(0);
    while reached < log.durable_offset() {
        let SourceEvent::Batch(batch) = source.next().await? else {
            panic!("durable records are not given")
        };
        assert!(batch.live);
        text.extend(batch.bytes);
        let Position::Offset(end) = batch.end else {
            panic!("positions of the log are offsets")
        };
        reached = end;
    }
    Ok(String::from_utf8(text)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect())
}

fn records(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("record {number}")).collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

fn copy_folder(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in segments(from) {
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let log = open(folder.path());
        assert_eq!(read_from(&log, None).await.unwrap(), records(0..round * 50));
        append_all(&log, round * 50..(round + 1) * 50).await;
        assert_eq!(read_from(&log, None).await.unwrap(), records(0..(round + 1) * 50));
    }
    assert!(
        segments(folder.path()).len() > 3,
        "the log has gone through several segments"
    );
}

#[tokio::test]
async fn one_owner_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    assert!(matches!(
        EmbeddedLog::open(folder.path(), SMALL),
        Err(IngestError::Locked { .. })
    ));
    drop(log);
    open(folder.path());
}

#[tokio::test]
async fn a_torn_end_is_cut_off_wherever_the_tear_is() {
    // What must never change: after a crash every whole frame is there, and nothing else.
    let original = tempfile::tempdir().unwrap();
    let log = open(original.path());
    append_all(&log, 0..60).await;
    drop(log);
    let last = segments(original.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let (mut shortest, mut longest) = (60, 0);
    for lost in 1..=512.min(bytes.len()) {
        let folder = copy_folder(original.path());
        let path = folder.path().join(last.file_name().unwrap());
        std::fs::write(&path, &bytes[..bytes.len() - lost]).unwrap();
        let (log, report) = EmbeddedLog::open(folder.path(), SMALL).unwrap();
        let kept = read_from(&log, None).await.unwrap();
        assert_eq!(kept, records(0..kept.len()), "{lost} bytes lost");
        assert!(
            report.cut_bytes < (FRAME_HEADER_BYTES + 12) as u64,
            "only the torn frame goes: {report:?}"
        );
        append_all(&log, kept.len()..kept.len() + 1).await;
        assert_eq!(read_from(&log, None).await.unwrap(), records(0..kept.len() + 1));
        (shortest, longest) = (shortest.min(kept.len()), longest.max(kept.len()));
    }
    assert!(longest == 59 && shortest < 59);
}

#[tokio::test]
async fn a_flipped_bit_is_cut_off_at_the_end_and_refused_before_it() {
    // What must never change: no damaged record is ever given out, and no durable one vanishes silently.
    let original = tempfile::tempdir().unwrap();
    let log = open(original.path());
    append_all(&log, 0..60).await;
    drop(log);
    let last = segments(original.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let last_frame = bytes.len() - FRAME_HEADER_BYTES - "record 59\n".len();
    for back in 1..=512.min(bytes.len()) {
        let folder = copy_folder(original.path());
        let path = folder.path().join(last.file_name().unwrap());
        let place = bytes.len() - back;
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (back % 8);
        std::fs::write(&path, &damaged).unwrap();
        match EmbeddedLog::open(folder.path(), SMALL) {
            Ok((log, report)) if place >= last_frame => {
                assert_eq!(
                    read_from(&log, None).await.unwrap(),
                    records(0..59),
                    "byte {place}"
                );
                assert_eq!(report.cut_bytes, (bytes.len() - last_frame) as u64);
            }
            Err(IngestError::CorruptSegment { offset_bytes, .. }) if place < last_frame => {
                // The four spare bytes of a segment's header count as the header.
                assert!(offset_bytes as usize <= place, "byte {place}");
            }
            Ok(_) => panic!("byte {place} was passed over"),
            Err(error) => panic!("byte {place}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_closed_segment_is_refused_where_it_is_damaged_and_can_be_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append_all(&log, 0..120).await;
    drop(log);
    let middle = segments(folder.path())[1].clone();
    let mut bytes = std::fs::read(&middle).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&middle, bytes).unwrap();
    let log = open(folder.path());
    let refused = read_from(&log, None).await.unwrap_err();
    assert!(
        matches!(&refused, IngestError::CorruptSegment { path, .. } if *path == middle),
        "{refused}"
    );
    drop(log);
    std::fs::remove_file(&middle).unwrap();
    let log = open(folder.path());
    let kept = read_from(&log, None).await.unwrap();
    let gap = kept
        .windows(2)
        .filter(|pair| number(&pair[1]) != number(&pair[0]) + 1)
        .count();
    assert_eq!((gap, number(&kept[0]), number(kept.last().unwrap())), (1, 0, 119));
}

fn number(record: &str) -> usize {
    record.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_segment_that_was_being_born_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append_all(&log, 0..5).await;
    let end = log.durable_offset();
    drop(log);
    for size in [0, 1, SEGMENT_HEADER_BYTES - 1] {
        std::fs::write(segment_path(folder.path(), end), &segment_header(end)[..size]).unwrap();
        let log = open(folder.path());
        assert_eq!(read_from(&log, None).await.unwrap(), records(0..5));
    }
}

#[tokio::test]
async fn committed_segments_are_deleted_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append_all(&log, 0..120).await;
    let (before, end) = (segments(folder.path()), log.durable_offset());
    let half = frame::base_of(&before[before.len() / 2]).unwrap();
    log.release(half).unwrap();
    log.release(half).unwrap();
    assert_eq!(segments(folder.path()), before[before.len() / 2..]);
    assert_eq!(log.held_bytes(), end - half);
    let rest = read_from(&log, Some(half)).await.unwrap();
    assert_eq!(rest, records(120 - rest.len()..120));
    log.release(end).unwrap();
    assert_eq!((log.held_bytes(), segments(folder.path()).len()), (0, 1));
    drop(log);
    // Offsets go on where they were.
    let log = open(folder.path());
    assert_eq!(log.durable_offset(), end);
}

#[tokio::test]
async fn what_was_committed_can_be_taken_off_the_disk_at_once() {
    // What must never change: after a new segment was started and everything released, no committed record is on disk.
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = EmbeddedLog::open(folder.path(), LogSettings::default()).unwrap();
    append_all(&log, 0..3).await;
    let end = log.durable_offset();
    log.start_segment().await.unwrap();
    log.start_segment().await.unwrap();
    append_all(&log, 3..4).await;
    log.release(end).unwrap();
    assert_eq!((log.first_offset(), segments(folder.path()).len()), (end, 1));
    assert_eq!(read_from(&log, Some(end)).await.unwrap(), records(3..4));
}

#[tokio::test]
async fn a_full_log_refuses_until_something_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        max_held_bytes: 100,
        ..SMALL
    };
    let (log, _) = EmbeddedLog::open(folder.path(), settings).unwrap();
    append_all(&log, 10..20).await;
    let refused = log.append(frame(20)).await.unwrap_err();
    assert!(matches!(refused, IngestError::LogFull { held_bytes: 100 }) && refused.is_transient());
    log.release(10).unwrap();
    append_all(&log, 20..21).await;
    assert_eq!(log.held_bytes(), 100);
}

#[tokio::test]
async fn an_emptied_log_never_uses_an_offset_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    assert_eq!(read_from(&log, Some(5_000)).await.unwrap(), Vec::<String>::new());
    append_all(&log, 0..3).await;
    assert_eq!(log.durable_offset(), 5_000 + 27);
    assert_eq!(
        (log.held_bytes(), read_from(&log, Some(5_009)).await.unwrap()),
        (27, records(1..3))
    );
    // Records at offsets that were committed for others are not skipped silently.
    let refused = read_from(&log, Some(9_000)).await.unwrap_err();
    assert!(matches!(refused, IngestError::BadPosition { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_the_log_and_a_reader_follows() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut source = LogSource::new(log.clone());
    source.start(&Positions::new()).await.unwrap();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut last = 0;
                for number in 0..50 {
                    let offset = log.append(frame(writer * 1_000 + number)).await.unwrap();
                    assert!(offset > last, "offsets of one writer ascend");
                    last = offset;
                }
            })
        })
        .collect();
    let mut got = Vec::new();
    while got.len() < 16 * 50 {
        if let SourceEvent::Batch(batch) = source.next().await.unwrap() {
            let text = String::from_utf8(batch.bytes).unwrap();
            got.extend(text.lines().map(number));
            source
                .committed(&Positions::from([(batch.partition, batch.end)]))
                .await
                .unwrap();
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for writer in 0..16 {
        let own: Vec<usize> = got
            .iter()
            .filter(|number| *number / 1_000 == writer)
            .map(|number| number % 1_000)
            .collect();
        assert_eq!(own, (0..50).collect::<Vec<_>>(), "writer {writer}");
    }
    assert_eq!(log.held_bytes(), 0);
}

/// A disk on which some operations in a row fail; after them it works again.
struct FaultyDisk {
    count: Arc<AtomicUsize>,
    fault: Fault,
}

#[derive(Clone, Copy)]
struct Fault {
    at: usize,
    length: usize,
    kind: ErrorKind,
}

struct FaultyFile {
    inner: Box<dyn SegmentFile>,
    count: Arc<AtomicUsize>,
    fault: Fault,
}

fn strike(count: &AtomicUsize, fault: Fault) -> IoResult<()> {
    let now = count.fetch_add(1, Ordering::Relaxed);
    if now >= fault.at && now < fault.at + fault.length {
        Err(Error::from(fault.kind))
    } else {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create(&mut self, path: &Path, content: &[u8]) -> IoResult<Box<dyn SegmentFile>> {
        strike(&self.count, self.fault)?;
        let inner = RealDisk.create(path, content)?;
        Ok(Box::new(FaultyFile {
            inner,
            count: Arc::clone(&self.count),
            fault: self.fault,
        }))
    }

    fn open(&mut self, path: &Path) -> IoResult<Box<dyn SegmentFile>> {
        let inner = RealDisk.open(path)?;
        Ok(Box::new(FaultyFile {
            inner,
            count: Arc::clone(&self.count),
            fault: self.fault,
        }))
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> IoResult<()> {
        // A write that fails has often written a part.
        if let Err(error) = strike(&self.count, self.fault) {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> IoResult<()> {
        let kind = if self.fault.kind == ErrorKind::StorageFull {
            ErrorKind::Other
        } else {
            self.fault.kind
        };
        strike(&self.count, Fault { kind, ..self.fault })?;
        self.inner.sync()
    }

    fn truncate(&mut self, size_bytes: u64) -> IoResult<()> {
        self.inner.truncate(size_bytes)
    }
}

/// Appends 80 records on a faulty disk; gives the numbers that were answered with success and the errors.
async fn run_on_faulty_disk(folder: &Path, fault: Fault) -> (Vec<usize>, Vec<IngestError>) {
    std::fs::create_dir_all(folder).unwrap();
    drop(open(folder));
    let disk = FaultyDisk {
        count: Arc::default(),
        fault,
    };
    let (log, _) = EmbeddedLog::open_on(Box::new(disk), folder, SMALL).unwrap();
    let (mut answered, mut errors) = (Vec::new(), Vec::new());
    for number in 0..80 {
        match log.append(frame(number)).await {
            Ok(_) => answered.push(number),
            Err(error) => errors.push(error),
        }
    }
    (answered, errors)
}

#[tokio::test]
async fn whatever_operation_fails_no_acknowledged_record_is_lost() {
    // What must never change: a success is durable, and after a failed sync nothing is acknowledged any more.
    let folder = tempfile::tempdir().unwrap();
    for at in 0..60 {
        let path = folder.path().join(at.to_string());
        let fault = Fault {
            at,
            length: 1,
            kind: ErrorKind::Other,
        };
        let (answered, errors) = run_on_faulty_disk(&path, fault).await;
        assert_eq!(
            answered,
            (0..answered.len()).collect::<Vec<_>>(),
            "nothing is taken after a failure, at {at}"
        );
        assert!(
            !errors.is_empty()
                && errors
                    .iter()
                    .all(|error| matches!(error, IngestError::LogStopped))
        );
        let kept = read_from(&open(&path), None).await.unwrap();
        assert_eq!(kept[..answered.len()], records(0..answered.len()));
        assert!(kept.len() <= answered.len() + 1, "at {at}");
    }
}

#[tokio::test]
async fn a_full_disk_is_survived_and_left_behind() {
    // What must never change: what was refused is not in the log, what was taken is, and space heals it.
    let folder = tempfile::tempdir().unwrap();
    let mut healed = 0;
    for at in 0..60 {
        let path = folder.path().join(at.to_string());
        let fault = Fault {
            at,
            length: 3,
            kind: ErrorKind::StorageFull,
        };
        let (answered, errors) = run_on_faulty_disk(&path, fault).await;
        let kept = read_from(&open(&path), None).await.unwrap();
        if errors.iter().all(IngestError::is_transient) {
            healed += 1;
            assert_eq!(answered.len(), 77, "at {at}");
            let expected: Vec<String> = answered.iter().map(|number| format!("record {number}")).collect();
            assert_eq!(kept, expected, "at {at}");
        } else {
            // The fault struck a sync, after which the log stops for good.
            assert!(kept.len() >= answered.len());
        }
    }
    assert!(healed >= 25, "{healed}");
}
