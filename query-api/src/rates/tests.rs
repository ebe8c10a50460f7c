//! Tests of the buckets: against a bucket that is filled drop by drop, and at their edges.

use super::*;

/// A bucket as everybody imagines it: it holds parts of a drop and is refilled by the time that passed.
struct Imagined {
    quota: Quota,
    /// What it holds, in nanoseconds worth of drops.
    held: i64,
    at: i64,
}

impl Imagined {
    fn take(&mut self, cost: i64, now: i64) -> bool {
        self.held = (self.held + (now - self.at)).min(self.quota.window_nanos());
        self.at = now;
        let wanted = cost * self.quota.interval_nanos;
        let is_enough = wanted <= self.held;
        if is_enough {
            self.held -= wanted;
        }
        is_enough
    }
}

#[test]
fn a_million_random_steps_agree_with_a_bucket_filled_drop_by_drop() {
    // What must never change: exactly what the settings promise comes through, neither more nor less.
    for (count, seconds, burst_seconds) in [(50, 1, 4), (10, 60, 60), (7, 3, 9)] {
        let quota = Quota::new(count, seconds, burst_seconds);
        let (mut full_at, mut now) = (0, 0);
        let mut imagined = Imagined {
            quota,
            held: quota.window_nanos(),
            at: 0,
        };
        // The generator of Knuth's MMIX: any sequence does, as long as it is the same one each time.
        let mut state: u64 = 0x5DEE_CE66;
        let mut random = move |below: i64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64 % below
        };
        let mut refused = 0;
        for step in 0..333_334 {
            now += random(quota.interval_nanos * 2);
            let cost = 1 + random(3) % quota.burst;
            let expected = imagined.take(cost, now);
            let outcome = advance(quota, &mut full_at, cost, now);
            assert_eq!(outcome.is_ok(), expected, "step {step}");
            refused += u32::from(!expected);
            if let Err(wait) = outcome {
                // The wait is exact: a nanosecond earlier is too early.
                assert!(advance(quota, &mut full_at.clone(), cost, now + wait - 1).is_err());
                assert!(advance(quota, &mut full_at.clone(), cost, now + wait).is_ok());
            }
        }
        assert!((1_000..332_000).contains(&refused), "{refused}");
    }
}

fn address(text: &str) -> Subject<'static> {
    Subject::Address(text.parse().unwrap())
}

#[test]
fn callers_and_kinds_of_work_do_not_share_buckets() {
    let rates = Rates::new(RateSettings::default());
    let now = Timestamp(0);
    let login = (Bucket::Login, address("192.0.2.1"));
    for left in (0..10).rev() {
        let standing = rates.take(login, 1, now).unwrap();
        assert_eq!(standing.remaining, left);
    }
    let problem = rates.take(login, 1, now).unwrap_err();
    assert_eq!(problem.code(), Code::RateLimited);
    assert!(rates.take((Bucket::Login, address("192.0.2.2")), 1, now).is_ok());
    assert!(rates.take((Bucket::Manage, address("192.0.2.1")), 1, now).is_ok());
    // One comes free every six seconds.
    assert!(rates.take(login, 1, Timestamp(5_999_999)).is_err());
    assert!(rates.take(login, 1, Timestamp(6_000_000)).is_ok());
}

#[test]
fn the_headers_say_how_the_bucket_stands() {
    let rates = Rates::new(RateSettings::default());
    let mut headers = HeaderMap::new();
    let standing = rates
        .take((Bucket::Manage, address("192.0.2.1")), 1, Timestamp(0))
        .unwrap();
    standing.write(&mut headers);
    assert_eq!(headers["ratelimit-policy"], "\"manage\";q=200;w=4");
    assert_eq!(headers["ratelimit"], "\"manage\";r=199;t=1");
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out() {
    let quota = Quota::new(10, 1, 1);
    let mut full_at = 3_600 * NANOS_PER_SECOND;
    assert_eq!(advance(quota, &mut full_at, 1, 0), Err(quota.interval_nanos));
}

#[test]
fn buckets_that_are_full_again_are_forgotten() {
    let rates = Rates::new(RateSettings::default());
    let total = SHARDS * SHARD_MAX * 2;
    for caller in 0..total {
        let address = Subject::Address(IpAddr::from(
            (u128::try_from(caller).unwrap() << 64).to_be_bytes(),
        ));
        let later = Timestamp(i64::try_from(caller).unwrap() * 1_000);
        rates.take((Bucket::Unknown, address), 1, later).unwrap();
    }
    let kept: usize = rates.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
    assert!(kept <= SHARDS * SHARD_MAX, "{kept}");
}

#[test]
fn addresses_of_one_ipv6_network_share_a_bucket() {
    // What must never change: nobody has as many attempts as their provider gives them addresses.
    let rates = Rates::new(RateSettings {
        logins_per_minute: 2,
        ..RateSettings::default()
    });
    let login = |address: &str| {
        let subject = Subject::Address(address.parse().unwrap());
        rates.take((Bucket::Login, subject), 1, Timestamp(0)).is_ok()
    };
    assert!(login("2001:db8:0:1::1") && login("2001:db8:0:1:ffff::2"));
    assert!(!login("2001:db8:0:1::3"));
    assert!(login("2001:db8:0:2::1"));
    assert!(login("198.51.100.7") && login("198.51.100.7") && !login("198.51.100.7"));
    assert!(login("198.51.100.8"));
}
