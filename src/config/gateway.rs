use std::path::PathBuf;

use super::{
    schema::{settings, words},
    value::Period,
};

words! {
    /// What holds where nothing is said.
    pub enum Security {
        /// Everyone may connect from everywhere and do everything, as a first start needs it.
        Open = "open",
        /// Nobody may.
        Hardened = "hardened",
    }
}

settings! {
    /// The process as a whole.
    pub struct Gateway {
        /// Name of this node, as in `$SYS/brokers/{name}/...`: 1 to 64 letters, digits, `-`, `_`, `.` and `@`.
        name: String = "thingway".into();
        /// What holds where nothing else is said: "open" lets everyone connect from everywhere and do everything; with "hardened" listeners that do not say
        /// where they listen are on the loopback address, nobody may connect without an authenticator, and nothing is allowed without a rule.
        security: Security = Security::Open;
        /// How many processor cores serve connections; 0 for all that the process may use.
        cores: u16 = 0;
        /// Directory for what the gateway keeps: certificates that it made, and its store. Made when missing.
        data_dir: PathBuf = "data".into();
        /// How long connections have to take their last bytes when the gateway stops. Then they are cut.
        drain_timeout: Period = Period::from_secs(10);
        /// File descriptors to ask the system for, as far as it allows; 0 for as many as it gives.
        open_files_max: u64 = 0;
    }
}
