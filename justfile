# The same steps that CI runs (.ci/run). `just` alone lists them.
_default:
    @just --list

# Format, lints, dependencies, documentation
check:
    .ci/run check

# Every test; arguments go to `cargo test`
test *arguments:
    tests/run {{ arguments }}

# Writes the published schemas anew
schemas:
    mkdir -p schemas
    cargo run --quiet --locked -- schema > schemas/app.v1.json
    cargo run --quiet --locked -- schema --kind agent > schemas/agent.v1.json

# Measures what matters
bench *arguments:
    cargo bench --locked {{ arguments }}
