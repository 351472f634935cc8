# The few verbs of this project. `.ci/run` uses the same.

# List the verbs.
default:
    @just --list

# Everything that a change must pass before it is shown to others.
check: format lint test

# Formatting.
format:
    cargo fmt --all --check

# Lints, and the rules for dependencies where cargo-deny is installed.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p thingway --lib --no-default-features -- -D warnings
    if command -v cargo-deny > /dev/null; then cargo deny --log-level error check; fi

# All tests; arguments choose some of them.
test *arguments:
    cargo test --workspace {{arguments}}

# Fuzz everything for a short while with stable Rust: property tests with more cases.
fuzz cases="20000":
    PROPTEST_CASES={{cases}} cargo test --workspace --release -- prop fuzz

# Thingway beside a relay and the brokers that are installed, as a table; arguments choose a part of it (--help). Takes an hour, and wants a quiet machine.
bench *arguments:
    cargo build --release
    python3 benches/peers.py {{arguments}}

# Benches inside one process: routes, memory, protocols, the store; arguments choose some of them, as `--bench idle`.
micro *arguments:
    cargo bench --workspace {{arguments}}

# Instructions, allocations and sizes beside what is committed.
instructions:
    cargo test --test gates -- --nocapture

# Commit the instructions that are counted now.
instructions-accept:
    THINGWAY_INSTRUCTIONS=accept cargo test --test gates instructions_are_as_committed -- --nocapture

# Serve.
run *arguments:
    cargo run --release -- {{arguments}}

# Write config/thingway.toml anew after a setting was added or changed.
config:
    cargo run --quiet -- config > target/thingway.toml
    cp target/thingway.toml config/thingway.toml

# Every protocol to every other, at every quality of service, live and retained; then the matrix, cell by cell.
protocol-matrix:
    cargo test --test protocols matrix::
    cargo test --quiet --test protocols protocol_matrix -- --nocapture

# Pictures of every page of the management interface, in both languages and themes and on a phone, in target/screenshots.
screenshots:
    npm ci --prefix tests/browser/node --ignore-scripts --no-audit --no-fund
    THINGWAY_SCREENSHOTS=1 cargo test --test browser every_page
