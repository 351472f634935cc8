use super::{
    schema::settings,
    value::{OrInfinity, Period, Size},
};

settings! {
    /// What the gateway does when it has too much to do: it turns new connections away with "server busy" and serves those it has.
    pub struct Overload {
        /// Whether it does.
        enable: bool = true;
        /// A core is overloaded when a task that is ready has to wait longer than this for its turn.
        lag_max: Period = Period::from_secs(1);
        /// How often that is measured.
        check_interval: Period = Period::from_millis(250);
        /// How long it must have been well again before new connections are let in.
        cooldown: Period = Period::from_secs(2);
        /// Resident memory of the process above which new connections are turned away.
        memory_max: OrInfinity<Size> = OrInfinity::Infinity;
    }
}
