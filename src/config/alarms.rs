use super::{schema::settings, value::Period};

settings! {
    /// What raises an alarm, beside what always does: a store that fails or falls behind, a service for access that does not answer, a full listener.
    pub struct Alarms {
        /// Whether there are alarms.
        enable: bool = true;
        /// How often it is looked for what raises one.
        check_interval: Period = Period::from_secs(5);
        /// Percent of the system's memory that is in use; 100 for no alarm.
        memory_high: u8 = 80, within 1..=100;
        /// Percent of the time of all processors that the system is busy; 100 for no alarm.
        cpu_high: u8 = 90, within 1..=100;
        /// Percent of the file descriptors that the process may have; 100 for no alarm.
        open_files_high: u8 = 90, within 1..=100;
        /// A certificate of a listener that ends within this time.
        certificate_ends: Period = Period::from_secs(14 * 24 * 3600);
    }
}
