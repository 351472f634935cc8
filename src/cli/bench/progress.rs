use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use super::shared::Shared;

const BAR_WIDTH: usize = 24;

/// One line about a run on standard error, where that is a terminal; nothing elsewhere.
pub struct Progress {
    is_shown: bool,
    has_line: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), has_line: false }
    }

    /// Shows how far a phase is: of its time, or where it has none of the clients.
    pub fn show(&mut self, what: &str, gone: Duration, of: Option<Duration>, clients: usize, shared: &Shared) {
        if !self.is_shown {
            return;
        }
        let ready = shared.sum(|counters| &counters.ready);
        let share = match of {
            Some(of) if !of.is_zero() => gone.as_secs_f64() / of.as_secs_f64(),
            _ => ready as f64 / clients.max(1) as f64,
        };
        let (sent, received) = (shared.sum(|counters| &counters.sent), shared.sum(|counters| &counters.received));
        let counts = format!("{ready}/{clients} clients, {sent} sent, {received} received");
        // A terminal that went away is no reason to end the run.
        let _ =
            write!(io::stderr().lock(), "\r{what:<10} {} {:>5.1} s  {counts}\x1b[K", bar(share), gone.as_secs_f64());
        self.has_line = true;
    }

    /// Clears the line.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.has_line) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn bar(share: f64) -> String {
    let full = ((share * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    format!("[{}{}]", "=".repeat(full), " ".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_of_one_width() {
        for (share, full) in [(0.0, 0), (0.5, 12), (1.0, 24), (7.0, 24), (-1.0, 0), (f64::NAN, 0)] {
            assert_eq!(bar(share), format!("[{}{}]", "=".repeat(full), " ".repeat(24 - full)));
        }
    }
}
