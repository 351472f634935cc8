use std::path::PathBuf;

use super::{schema::settings, value::Period};

settings! {
    /// The process as a whole.
    pub struct Gateway {
        /// Name of this node, as in `$SYS/brokers/{name}/...`: 1 to 64 letters, digits, `-`, `_`, `.` and `@`.
        name: String = "thingway".into();
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
