//! Real experiments with known results, from their raw rows to the digits that are printed of them.
//!
//! The files and their truth lie in `shared` beside the repository, or where `EXPERIMENTLY_DATASETS` and
//! `EXPERIMENTLY_REFERENCE` pointed when the tests were built; without them nothing is tested, as rows may not be given on.
//! Results whose rows or sums are not there (Kruskal–Wallis, Mantel–Haenszel) are left to `several.rs`.

#[path = "datasets/asos.rs"]
mod asos;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// Truth was computed in double precision by other programs from the same counts.
const TOLERANCE: f64 = 1e-9;

#[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
fn datasets() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets");
    let folder = option_env!("EXPERIMENTLY_DATASETS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("no data sets beside the repository: nothing was tested");
    None
}

/// The known results; none where the folder is absent.
#[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
fn truth() -> Vec<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let folder = option_env!("EXPERIMENTLY_REFERENCE").map_or(beside, PathBuf::from);
    let Ok(bytes) = std::fs::read(folder.join("datasets_truth.json")) else {
        eprintln!("no known results beside the repository: nothing was tested");
        return Vec::new();
    };
    serde_json::from_slice(&bytes).expect("the known results are a list")
}

/// The rows of a compressed table, the header's names first.
fn rows(path: &str) -> Option<Vec<Vec<String>>> {
    let file = std::fs::File::open(datasets()?.join(path)).expect("the folder holds the data set");
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("the data set is text");
    Some(text.lines().map(|line| fields(line.trim_end())).collect())
}

/// The fields of a line; a comma between quotes belongs to its field.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("there is a first field").push(other),
        }
    }
    fields
}

fn ask(method: &str, inputs: &Value) -> Value {
    let answer = stats::call(&json!({"id": 1, "method": method, "inputs": inputs}));
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[track_caller]
fn close(ours: f64, truth: f64, tolerance: f64, what: &str) {
    // Relative for tails, which are known to their own digits, however small.
    let allowed = tolerance * truth.abs();
    assert!(
        (ours - truth).abs() <= allowed.max(1e-300),
        "{what}: {ours:e} is not {truth:e}"
    );
}

/// The known result of a data set whose name begins so.
fn known<'a>(truth: &'a [Value], dataset: &str, method: &str) -> &'a Value {
    truth
        .iter()
        .find(|row| {
            let name = row["method"].as_str().unwrap_or_default();
            row["dataset"] == dataset && name.starts_with(method)
        })
        .unwrap_or_else(|| panic!("{dataset} has a known result {method}"))
}

/// Count, sum and sum of squares of an arm.
fn sums(values: &[f64]) -> Value {
    let squares: f64 = values.iter().map(|value| value * value).sum();
    json!({"n": values.len(), "sum": values.iter().sum::<f64>(), "sum_squares": squares})
}

fn counts(values: &[f64]) -> Value {
    json!({"n": values.len(), "x": values.iter().sum::<f64>()})
}

/// What was counted here against what the truth was computed from.
fn same_counts(ours: &Value, row: &Value, arm: &str) {
    for (name, value) in ours.as_object().expect("counts are an object") {
        let what = format!("{} {arm} {name}", row["method"]);
        close(number(value), number(&row["inputs"][arm][name]), 1e-12, &what);
    }
}

/// Two proportions from counts, to the truth's digits.
fn proportions_hold(row: &Value) {
    let (inputs, expected) = (&row["inputs"], &row["expected"]);
    let ours = ask(
        "two_proportion",
        &json!({
            "x_control": inputs["control"]["x"], "n_control": inputs["control"]["n"],
            "x_treatment": inputs["treatment"]["x"], "n_treatment": inputs["treatment"]["n"],
        }),
    );
    let what = |name: &str| format!("{} {} {name}", row["dataset"], row["method"]);
    for (name, theirs) in [
        ("p0", "p_control"),
        ("p1", "p_treatment"),
        ("diff", "diff"),
        ("z_pooled", "z_pooled"),
        ("p_pooled", "p_pooled"),
        ("z_unpooled", "z_unpooled"),
        ("p_unpooled", "p_unpooled"),
    ] {
        close(
            number(&ours[name]),
            number(&expected[theirs]),
            TOLERANCE,
            &what(name),
        );
    }
    for (name, theirs) in [
        ("wald_ci95", "wald_ci95"),
        ("newcombe_hybrid_score_ci95", "newcombe_ci95"),
    ] {
        for end in 0..2 {
            close(
                number(&ours[name][end]),
                number(&expected[theirs][end]),
                TOLERANCE,
                &what(name),
            );
        }
    }
}

/// The lift of one proportion over another, to the truth's digits.
fn lift_holds(row: &Value) {
    let (inputs, expected) = (&row["inputs"], &row["expected"]);
    let arm = |name: &str| {
        let (x, n) = (number(&inputs[name]["x"]), number(&inputs[name]["n"]));
        let rate = x / n;
        // Theirs takes p(1 − p)/n for the variance of a rate.
        json!({"estimate": rate, "se": (rate * (1.0 - rate) / n).sqrt(), "n": n})
    };
    let ours = ask(
        "relative_change",
        &json!({"control": arm("control"), "treatment": arm("treatment")}),
    );
    let what = |name: &str| format!("{} {} {name}", row["dataset"], row["method"]);
    let near = |ours: &Value, theirs: &Value, name: &str| {
        let (ours, theirs) = (number(ours), number(theirs));
        // A lift of 0 is a rounding error away from 0.
        assert!(
            (ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1e-3),
            "{}: {ours:e} {theirs:e}",
            what(name)
        );
    };
    near(&ours["rel"], &expected["rel_lift"], "rel_lift");
    near(
        &ours["rel_se_delta"],
        &expected["rel_lift_se_delta"],
        "rel_lift_se_delta",
    );
    for end in 0..2 {
        near(
            &ours["rel_ci95_delta_normal"][end],
            &expected["rel_lift_ci95"][end],
            "rel_lift_ci95",
        );
    }
}

/// Welch's test from sums, to the truth's digits.
fn welch_holds(row: &Value) {
    let (inputs, expected) = (&row["inputs"], &row["expected"]);
    let arm = |name: &str| {
        let arm = &inputs[name];
        json!({"n": arm["n"], "sum": arm["sum"], "sum_squares": arm["sum_squares"]})
    };
    let ours = ask(
        "welch_t_from_sums",
        &json!({"control": arm("control"), "treatment": arm("treatment")}),
    );
    let what = |name: &str| format!("{} {} {name}", row["dataset"], row["method"]);
    // Plain sums of squares have lost some digits of the variance, in the truth as here.
    for (name, theirs, tolerance) in [
        ("diff", "diff", 1e-8),
        ("t", "t", 1e-8),
        ("df", "df", 1e-8),
        ("p_two_sided", "p", 1e-7),
    ] {
        close(
            number(&ours[name]),
            number(&expected[theirs]),
            tolerance,
            &what(name),
        );
    }
    for end in 0..2 {
        close(
            number(&ours["ci95"][end]),
            number(&expected["ci95"][end]),
            1e-8,
            &what("ci95"),
        );
    }
}

#[test]
fn every_known_result_of_counts_and_sums_is_met() {
    let truth = truth();
    let (mut proportions, mut means, mut ratios, mut adjusted, mut variances) = (0, 0, 0, 0, 0);
    for row in &truth {
        let (inputs, expected) = (&row["inputs"], &row["expected"]);
        if inputs["control"]["x"].is_number() {
            proportions_hold(row);
            if expected["rel_lift"].is_number() {
                lift_holds(row);
            }
            proportions += 1;
        } else if inputs["control"]["sum"].is_number() && expected["df"].is_number() {
            welch_holds(row);
            means += 1;
        } else if inputs["observed"].is_array() {
            let ours = ask("srm_chi2", inputs);
            let what = format!("{} {}", row["dataset"], row["method"]);
            close(number(&ours["chi2"]), number(&expected["chi2"]), TOLERANCE, &what);
            close(number(&ours["p"]), number(&expected["p"]), TOLERANCE, &what);
            ratios += 1;
        } else if expected["F"].is_number() {
            // The sums of one arm after another, by name.
            let arms: Vec<&Value> = inputs.as_object().expect("arms by name").values().collect();
            let arm =
                |arm: &&Value| json!({"n": arm["n"], "sum": arm["sum"], "sum_squares": arm["sum_squares"]});
            let ours = ask(
                "anova_one_way",
                &json!({"arms": arms.iter().map(arm).collect::<Vec<Value>>()}),
            );
            close(number(&ours["f"]), number(&expected["F"]), TOLERANCE, "F");
            close(
                number(&ours["p_value"]),
                number(&expected["p"]),
                TOLERANCE,
                "p of F",
            );
            variances += 1;
        } else if inputs["p"].is_array() {
            let method = row["method"].as_str().unwrap_or_default();
            let name = match method.trim_start_matches("multipletests ") {
                "simes-hochberg" => "hochberg",
                "fdr_bh" => "bh",
                "fdr_by" => "by",
                other => other,
            };
            let ours = ask("adjusted_p_values", inputs);
            let pairs = expected["adj"].as_array().expect("a list").iter().enumerate();
            for (index, adjusted) in pairs {
                close(number(&ours[name][index]), number(adjusted), TOLERANCE, name);
            }
            adjusted += 1;
        }
    }
    if !truth.is_empty() {
        let compared = (proportions, means, ratios, adjusted, variances);
        assert!(
            proportions >= 16 && means >= 13 && ratios >= 4 && adjusted == 7 && variances == 1,
            "{compared:?}"
        );
    }
}

#[test]
fn cookie_cats_from_its_rows() {
    let truth = truth();
    let Some(rows) = rows("cookie_cats/cookie_cats.csv.gz").filter(|_| !truth.is_empty()) else {
        return;
    };
    let of = |variant: &str, column: usize| -> Vec<f64> {
        let arm = rows[1..].iter().filter(|row| row[1] == variant);
        arm.map(|row| match row[column].as_str() {
            "TRUE" | "True" => 1.0,
            "FALSE" | "False" => 0.0,
            value => value.parse().expect("a number of rounds"),
        })
        .collect()
    };
    for (name, column) in [("retention_1", 3), ("retention_7", 4)] {
        let row = known(&truth, "cookie_cats", name);
        same_counts(&counts(&of("gate_30", column)), row, "control");
        same_counts(&counts(&of("gate_40", column)), row, "treatment");
    }
    let (control, treatment) = (of("gate_30", 2), of("gate_40", 2));
    let row = known(&truth, "cookie_cats", "welch_sum_gamerounds_all");
    same_counts(&sums(&control), row, "control");
    same_counts(&sums(&treatment), row, "treatment");
    let row = known(&truth, "cookie_cats", "welch_sum_gamerounds_without");
    let without: Vec<f64> = control
        .iter()
        .copied()
        .filter(|rounds| *rounds < 49_854.0)
        .collect();
    same_counts(&sums(&without), row, "control");

    let ranks = ask(
        "mann_whitney_u",
        &json!({"control": control, "treatment": treatment}),
    );
    let row = &known(&truth, "cookie_cats", "mannwhitney")["expected"];
    close(
        number(&ranks["asymptotic_cc"][1]),
        number(&row["p"]),
        TOLERANCE,
        "p of U",
    );

    // The 99.9 % quantile of both arms, between two values as numpy takes it.
    let capped = ask(
        "winsorized_means",
        &json!({"control": control, "treatment": treatment, "upper_cap": 1073.624}),
    );
    let row = &known(&truth, "cookie_cats", "welch_sum_gamerounds_winsorized")["expected"];
    close(
        number(&capped["estimate"]),
        number(&row["diff"]),
        TOLERANCE,
        "capped difference",
    );
    close(
        number(&capped["p_value"]),
        number(&row["p"]),
        TOLERANCE,
        "capped p",
    );
    close(
        number(&capped["df"]),
        number(&row["df"]),
        TOLERANCE,
        "capped degrees of freedom",
    );
}

#[test]
fn the_landing_page_from_its_rows() {
    let truth = truth();
    let Some(rows) = rows("ab_data_udacity/ab_data.csv.gz").filter(|_| !truth.is_empty()) else {
        return;
    };
    let shape = &known(&truth, "ab_data_udacity", "rows")["expected"];
    let agree = |row: &Vec<String>| (row[2] == "control") == (row[3] == "old_page");
    let users: BTreeSet<&str> = rows[1..].iter().map(|row| row[0].as_str()).collect();
    let mismatched = rows[1..].iter().filter(|row| !agree(row)).count();
    assert_eq!(
        json!({"rows": rows.len() - 1, "unique_users": users.len(), "mismatched_rows": mismatched}),
        *shape
    );
    let mut seen = BTreeSet::new();
    let mut arms: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in rows[1..].iter().filter(|row| agree(row)) {
        if seen.insert(row[0].as_str()) {
            let converted = row[4].parse().expect("0 or 1");
            arms.entry(row[2].as_str()).or_default().push(converted);
        }
    }
    let row = known(&truth, "ab_data_udacity", "converted_clean (");
    same_counts(&counts(&arms["control"]), row, "control");
    same_counts(&counts(&arms["treatment"]), row, "treatment");

    // By country, of which the known results hold the counts.
    let stratum = |country: &str| {
        let row = known(
            &truth,
            "ab_data_udacity",
            &format!("converted_clean country={country}"),
        );
        let arm = |name: &str| {
            let arm = &row["inputs"][name];
            json!({"n": arm["n"], "sum": arm["x"], "sum_squares": arm["x"]})
        };
        // Theirs takes the strata's shares as known.
        let units = number(&row["inputs"]["control"]["n"]) + number(&row["inputs"]["treatment"]["n"]);
        json!({"control": arm("control"), "treatment": arm("treatment"), "weight": units})
    };
    let strata = json!({"strata": [stratum("CA"), stratum("UK"), stratum("US")]});
    let ours = ask("post_stratified_difference", &strata);
    let row = &known(&truth, "ab_data_udacity", "post_stratified")["expected"];
    close(
        number(&ours["estimate"]),
        number(&row["diff"]),
        TOLERANCE,
        "stratified difference",
    );
    close(
        number(&ours["standard_error"]),
        number(&row["se"]),
        TOLERANCE,
        "its standard error",
    );
}

#[test]
fn hillstroms_mails_from_their_rows() {
    let truth = truth();
    let Some(rows) = rows("hillstrom_email/hillstrom.csv.gz").filter(|_| !truth.is_empty()) else {
        return;
    };
    let header = &rows[0];
    let column = |name: &str| header.iter().position(|field| field == name).expect("a column");
    let segment = column("segment");
    let of = |arm: &str, name: &str| -> Vec<f64> {
        let at = column(name);
        let arm = rows[1..].iter().filter(|row| row[segment] == arm);
        arm.map(|row| row[at].parse().expect("a number")).collect()
    };
    for arm in ["Mens E-Mail", "Womens E-Mail"] {
        for name in ["visit", "conversion"] {
            let row = known(&truth, "hillstrom_email", &format!("{name} {arm}"));
            same_counts(&counts(&of("No E-Mail", name)), row, "control");
            same_counts(&counts(&of(arm, name)), row, "treatment");
        }
        let row = known(&truth, "hillstrom_email", &format!("welch spend {arm}"));
        same_counts(&sums(&of("No E-Mail", "spend")), row, "control");
        same_counts(&sums(&of(arm, "spend")), row, "treatment");
        let row = truth.iter().find(|row| {
            let name = row["method"].as_str().unwrap_or_default();
            name.starts_with("cuped") && name.ends_with(arm)
        });
        let row = &row.expect("a known result")["expected"];
        let joint = |arm: &str| {
            let (post, pre) = (of(arm, "spend"), of(arm, "history"));
            let cross: f64 = post.iter().zip(&pre).map(|(post, pre)| post * pre).sum();
            let (post, pre) = (sums(&post), sums(&pre));
            json!({"n": post["n"], "post_sum": post["sum"], "post_sum_squares": post["sum_squares"],
                   "pre_sum": pre["sum"], "pre_sum_squares": pre["sum_squares"], "cross_sum": cross})
        };
        let ours = ask(
            "cuped_mean",
            &json!({"control": joint("No E-Mail"), "treatment": joint(arm)}),
        );
        let adjusted = &ours["theta_total"];
        // The tail has the statistic's relative error times t².
        for (name, theirs, tolerance) in [
            ("diff", "diff", TOLERANCE),
            ("z", "t", TOLERANCE),
            ("welch_df", "df", TOLERANCE),
            ("p_welch", "p", 1e-8),
        ] {
            close(number(&adjusted[name]), number(&row[theirs]), tolerance, name);
        }
    }
    let dunnett = ask(
        "dunnett_test",
        &json!({"control": sums(&of("No E-Mail", "spend")),
                "treatments": [sums(&of("Mens E-Mail", "spend")), sums(&of("Womens E-Mail", "spend"))]}),
    );
    let row = &known(&truth, "hillstrom_email", "dunnett")["expected"];
    for index in 0..2 {
        close(
            number(&dunnett["statistic"][index]),
            number(&row["statistic"][index]),
            1e-9,
            "Dunnett",
        );
        // Theirs integrates by quasi-random points, to 10⁻⁴ as its file says.
        let (ours, theirs) = (number(&dunnett["p"][index]), number(&row["p"][index]));
        assert!((ours - theirs).abs() < 1e-4, "{ours:e} {theirs:e}");
    }
}
