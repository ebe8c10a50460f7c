# The daily commands. Each recipe is one line that also works without `just`.

# Lists the recipes.
default:
    @just --list

# Formats the code.
fmt:
    cargo fmt --all

# Checks format, lints, documentation and licences.
lint:
    scripts/lint.sh

# Runs the tests whose name holds NAME, or all.
test NAME='':
    scripts/test.sh --workspace {{ NAME }}

# Runs the house rules alone; nothing else needs to compile.
tidy:
    scripts/tidy.sh

# Runs the program, by default the demo.
run *ARGS:
    scripts/run.sh {{ ARGS }}

# Writes what is generated and committed: the OpenAPI document.
gen:
    cargo run --quiet --package query-api --example openapi > query-api/openapi.json.new && mv query-api/openapi.json.new query-api/openapi.json

# Runs the benchmarks of one area, or all, against the saved baseline.
bench AREA='':
    cargo bench --package domain --package benches --benches {{ AREA }}

# Everything that a change must pass.
ci:
    .ci/run
