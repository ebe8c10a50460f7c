//! The form of snapshots: what is read, what is refused, what a failure says.

use super::*;

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
