//! Versions and ranges of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn holds(operator: Operator, value: &str, attribute: &str) -> Outcome {
    let attribute = json!(attribute);
    VersionTest::compile(operator, &json!(value))
        .unwrap()
        .check(Attribute::Value(&attribute))
}

fn version() -> impl Strategy<Value = String> {
    "(0|[1-3])\\.(0|[1-3])\\.(0|[1-3])(-(0|1|10|a|b|a-b|rc)(\\.(0|2|x)){0,2})?(\\+[a-z0-9]{1,3})?"
}

proptest! {
    #[test]
    fn versions_are_ordered_as_semantic_versioning_says(left in version(), right in version()) {
        // What must never change: precedence. The semver crate is the independent reading; it alone orders
        // build metadata, so that is left out.
        let parse = |text: &str| semver::Version::parse(text.split('+').next().unwrap()).unwrap();
        let expected = parse(&left).cmp(&parse(&right));
        let ours = Version::parse(&left).unwrap().compare(Version::parse(&right).unwrap());
        prop_assert_eq!(ours, expected);
    }

    #[test]
    fn ranges_of_releases_are_those_of_cargo(
        sign in "(\\^|~|>=|<=|>|<|=)",
        numbers in "(0|[1-3])(\\.(0|[1-3])){0,2}",
        release in "(0|[1-3])\\.(0|[1-3])\\.(0|[1-3])",
    ) {
        // What must never change: what a range holds. Cargo and npm agree on releases.
        let range = format!("{sign}{numbers}");
        let expected = semver::VersionReq::parse(&range).unwrap().matches(&semver::Version::parse(&release).unwrap());
        prop_assert_eq!(holds(Operator::VersionInRange, &range, &release), Outcome::from(expected), "{} {}", range, release);
    }

    #[test]
    fn no_text_is_too_odd(range in ".{0,40}", text in ".{0,40}") {
        if let Ok(test) = VersionTest::compile(Operator::VersionInRange, &json!(range)) {
            test.check(Attribute::Value(&json!(text)));
        }
    }
}
