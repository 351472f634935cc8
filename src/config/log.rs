use std::path::PathBuf;

use super::{
    schema::{settings, words},
    value::Rate,
};

words! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line, for machines.
        Json = "json",
    }
}

settings! {
    /// What is written to the log.
    pub struct Log {
        /// Least important kind of line that is written: "error", "warn", "info", "debug", "trace" or "off"; for single modules as in "info,thingway::net=debug".
        level: String = "info".into();
        /// "text" for people or "json" for machines.
        format: LogFormat = LogFormat::Text;
        /// File to append to; "" for standard error.
        file: PathBuf = PathBuf::new();
        /// Most lines that misbehaving peers can cause, for each kind of misbehaviour. What is left out is counted, and the count told.
        peer_rate: Rate = Rate::per_minute(60);
    }
}
