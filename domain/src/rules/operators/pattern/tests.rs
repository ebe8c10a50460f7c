//! Patterns: what they match, and what is refused when it is written.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn patterns_are_rewritten_to_ascii_classes() {
    for (pattern, expected) in [
        (r"^\d+$", "^[0-9]+$"),
        (r"[\w-]+?\s", "[0-9A-Za-z_-]+?[\\t\\n\\x0B\\x0C\\r ]"),
        (r"\<a\>\.\u00fc", r"<a>\.\u00fc"),
        (r"(?:a|b){2,3}", "(?:a|b){2,3}"),
    ] {
        assert_eq!(translate(pattern).as_deref(), Ok(expected), "{pattern}");
    }
}

#[test]
fn hard_patterns_are_refused_or_search_a_long_text() {
    // What must never change: patterns on which backtracking takes for ever either do not compile or are
    // searched in time linear in the text. A backtracking search of these would not end while anybody waits.
    let text = json!("a".repeat(TEXT_MAX_BYTES));
    let parts = [
        "(a*)*",
        "(a+)+",
        "(a|a)*",
        "(a|aa)+",
        "([a-z]+)*",
        "(.*)*",
        "(a?){40}a{40}",
        "(x+x+)+",
        "((a*)*)*",
        "(a*a*)*",
    ];
    let ends = ["$", "b", "!$", "[^a]$", "\\d$"];
    let mut searched = 0;
    for first in parts {
        for second in parts {
            for end in ends {
                if let Ok(pattern) = Pattern::compile(&json!(format!("^{first}{second}{end}")), false) {
                    let outcome = pattern.check(Attribute::Value(&text));
                    assert!(matches!(outcome, Outcome::Holds | Outcome::DoesNotHold));
                    searched += 1;
                }
            }
        }
    }
    assert!(searched > 400, "{searched}");
}

proptest! {
    #[test]
    fn no_pattern_is_too_odd(pattern in ".{0,30}", ascii in "[-a-z0-9(){}\\[\\]*+?|.^$\\\\,&~:<>]{0,20}", text in ".{0,30}") {
        for pattern in [pattern, ascii] {
            if let Ok(compiled) = Pattern::compile(&json!(pattern), true) {
                compiled.check(Attribute::Value(&json!(text)));
            }
        }
    }
}
