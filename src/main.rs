//! x
fn main() {
    print!("{}", thingway::config::document())
}
