//! Rules on what a file may name: the walls that manifests alone cannot hold up.

use super::files::{TextFile, code_lines, has_path};

struct Wall {
    /// What must not be named.
    paths: &'static [&'static str],
    /// Below which folder the wall stands; everywhere when empty.
    within: &'static str,
    /// Longer paths that are on the right side all the same.
    except: &'static [&'static str],
    /// Where it may be named all the same: beginnings of paths.
    allowed: &'static [&'static str],
    reason: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        paths: &[concat!("sql", "x::query")],
        within: "",
        except: &[],
        // A test of what a transaction leaves behind looks at the tables themselves.
        allowed: &["control/src/store", "control/src/safety/tests.rs"],
        reason: "SQL lives in control/src/store",
    },
    Wall {
        paths: &[concat!("sql", "x::")],
        within: "",
        except: &[],
        allowed: &["control/"],
        reason: "only `control` knows that the store is a database",
    },
    Wall {
        paths: &[
            "arrow::",
            "parquet::",
            "datafusion::",
            "deltalake_core::",
            "object_store::",
        ],
        within: "",
        except: &[],
        allowed: &["ingest/", "pipeline/", "tests/", "benches/"],
        reason: "Arrow and Parquet live in `ingest` and `pipeline`",
    },
    Wall {
        paths: &["env::var", "env::set_var", "env::remove_var", "env::args"],
        within: "",
        except: &[],
        allowed: &["cli/", "tests/", "benches/", "fixtures/src/emulators"],
        reason: "only `cli` reads the environment, and hands settings on",
    },
    Wall {
        paths: &[
            "std::env::var",
            "std::fs::",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "Instant::now",
            "SystemTime::now",
            "tokio::",
        ],
        within: "domain/src/",
        except: &[],
        allowed: &[],
        reason: "`domain` does no I/O and reads no clock",
    },
    Wall {
        paths: &[
            "std::fs::",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "Instant::now",
            "SystemTime::now",
            "tokio::",
        ],
        within: "stats/src/",
        except: &[],
        allowed: &[],
        reason: "`stats` takes numbers and gives numbers",
    },
    Wall {
        paths: &["domain::"],
        within: "stats/src/",
        except: &[
            "domain::Moments",
            "domain::Sums",
            "domain::CrossSums",
            "domain::summary",
        ],
        allowed: &["stats/src/analyze"],
        reason: "in `stats` only `analyze.rs` knows more of `domain` than its summaries",
    },
];

/// Names that stand on the wrong side of a wall.
pub fn misplaced(file: &TextFile) -> Vec<String> {
    let is_tool = file.path.ends_with("/build.rs") || file.path.contains("/examples/");
    let is_test = file.path.ends_with("/tests.rs");
    let standing = WALLS.iter().filter(|wall| {
        let is_allowed = wall.allowed.iter().any(|start| file.path.starts_with(start));
        // Tests of pure code read their reference cases from files.
        let is_exempt = is_tool || (is_test && !wall.within.is_empty());
        file.path.starts_with(wall.within) && !is_allowed && !is_exempt
    });
    let mut problems = Vec::new();
    for wall in standing {
        for (number, line) in code_lines(&file.text) {
            let line = wall
                .except
                .iter()
                .fold(line.to_owned(), |line, path| line.replace(path, ""));
            if let Some(path) = wall.paths.iter().find(|path| names(&line, path)) {
                problems.push(format!("{}:{number}: `{path}` here; {}", file.path, wall.reason));
            }
        }
    }
    problems
}

/// Whether a line of code names the path, in full or behind `std::`.
fn names(line: &str, path: &str) -> bool {
    has_path(line, path) || has_path(line, &format!("std::{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::sample;

    #[test]
    fn every_wall_can_be_run_into() {
        for wall in WALLS {
            for path in wall.paths {
                let code = format!("//! x\nlet x = {path}y();\n");
                let outside = if wall.within.is_empty() {
                    "query-api/src/"
                } else {
                    wall.within
                };
                let problems = misplaced(&sample(&format!("{outside}x.rs"), &code));
                assert!(
                    problems.iter().any(|problem| problem.contains(wall.reason)),
                    "{path}"
                );
                for allowed in wall.allowed {
                    let problems = misplaced(&sample(&format!("{allowed}/x.rs"), &code));
                    assert!(
                        !problems.iter().any(|problem| problem.contains(wall.reason)),
                        "{path}"
                    );
                }
            }
        }
    }

    #[test]
    fn summaries_are_numbers_and_keys_are_not() {
        let problems = |code: &str| misplaced(&sample("stats/src/x.rs", code)).len();
        assert_eq!(problems("//! x\nuse domain::summary::DoubleDouble;\n"), 0);
        assert_eq!(problems("//! x\nuse domain::ExperimentKey;\n"), 1);
    }

    #[test]
    fn comments_and_longer_names_are_no_use() {
        let code = "//! About arrow::array.\n// sqlx::query here\nuse sparrow::x;\nlet x = env!(\"X\");\n";
        assert_eq!(
            misplaced(&sample("query-api/src/x.rs", code)),
            Vec::<String>::new()
        );
    }
}
