//! The house rules as tests: what CONTRIBUTING.md asks for and a machine can see.
//!
//! Each rule is a function from text to a list of problems, so that a test beside it can show the rule failing. The tests
//! in this file apply the rules to the repository. Layout, lints and the budget of functions are left to rustfmt and clippy.

#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/repository.rs"]
mod repository;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/wording.rs"]
mod wording;

use files::TextFile;

/// Applies a rule to every file that fits and shows all problems at once.
fn check_files(fits: fn(&str) -> bool, rule: fn(&TextFile) -> Vec<String>) {
    let files = files::all();
    let fitting: Vec<&TextFile> = files.iter().filter(|file| fits(&file.path)).collect();
    assert!(
        !fitting.is_empty(),
        "the rule applies to no file, so it guards nothing"
    );
    report(&fitting.into_iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_text_of_ours(path: &str) -> bool {
    // Cargo writes the names of its registry into its lock file; nobody else may.
    path != "Cargo.lock"
}

fn read(path: &str) -> String {
    std::fs::read_to_string(files::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_file_says_first_what_it_is() {
    check_files(is_rust, source::module_documentation);
}

#[test]
fn no_file_outgrows_its_budget() {
    check_files(is_rust, source::file_budget);
}

#[test]
fn only_the_program_has_a_main() {
    check_files(is_rust, source::no_main_outside_the_program);
}

#[test]
fn no_unfinished_work_lands() {
    check_files(is_rust, source::unfinished_work);
}

#[test]
fn nothing_is_used_where_it_does_not_belong() {
    check_files(is_rust, imports::misplaced);
}

#[test]
fn errors_are_lowercase_phrases() {
    check_files(is_rust, wording::errors);
}

#[test]
fn log_lines_are_lowercase_phrases() {
    check_files(is_rust, wording::logs);
}

#[test]
fn no_file_knows_one_machine_or_registry() {
    check_files(is_text_of_ours, repository::machine_paths_and_hosts);
}

#[test]
fn locked_packages_do_not_name_where_they_came_from() {
    let files = files::all();
    let locks = files
        .iter()
        .filter(|file| file.path.ends_with("package-lock.json"));
    report(&locks.flat_map(repository::resolved_addresses).collect::<Vec<_>>());
}

#[test]
fn links_lead_somewhere() {
    let files = files::all();
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let exists = |path: &str| files::root().join(path.trim_start_matches('/')).exists();
    report(
        &pages
            .flat_map(|page| repository::broken_links(page, &exists))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn crates_depend_in_one_direction_only() {
    for member in manifests::members(&read("Cargo.toml")) {
        let manifest = read(&format!("{member}/Cargo.toml"));
        report(&manifests::direction(&member, &manifest));
        report(&manifests::inheritance(&member, &manifest));
        report(&manifests::programs(&member, &manifest));
    }
}

#[test]
fn every_dependency_is_used() {
    let files = files::all();
    for member in manifests::members(&read("Cargo.toml")) {
        // The flow tests are built with the program that they run, and a bench with the one crate that it measures.
        let is_own = |path: &str| {
            path.starts_with(&format!("{member}/"))
                || (member == "cli" && path.starts_with("tests/flow/"))
                || (member == "stats" && path == "benches/benches/stats.rs")
        };
        let own = files
            .iter()
            .filter(|file| is_rust(&file.path) && is_own(&file.path));
        let code: String = own.map(|file| file.text.as_str()).collect();
        report(&manifests::unused(
            &member,
            &read(&format!("{member}/Cargo.toml")),
            &code,
        ));
    }
}

#[test]
fn every_dependency_has_its_reason_on_record() {
    let reasons = read("docs/decisions/0006-dependencies.md");
    report(&manifests::reasons(&read("Cargo.toml"), &reasons));
}

#[test]
fn the_budget_of_functions_is_in_force() {
    report(&manifests::function_budget(
        &read("clippy.toml"),
        &read("Cargo.toml"),
    ));
}

#[test]
fn decisions_have_numbers_of_their_own() {
    let files = files::all();
    let decisions: Vec<&TextFile> = files
        .iter()
        .filter(|file| file.path.starts_with("docs/decisions/"))
        .collect();
    assert!(!decisions.is_empty(), "there are no decision records");
    report(&repository::decisions(&decisions));
}

#[test]
fn the_architecture_knows_every_crate() {
    let members = manifests::members(&read("Cargo.toml"));
    report(&repository::architecture(&members, &read("docs/ARCHITECTURE.md")));
}
