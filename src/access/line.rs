use thingway_connectors::LineCounts;

/// How a service is that is asked about clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineState {
    /// Its name in the configuration, as `http.main`.
    pub name: Box<str>,
    /// What it is asked for: `authentication` or `authorization`.
    pub role: &'static str,
    /// It does not answer, and is left alone.
    pub is_resting: bool,
    /// What became of questions to it.
    pub counts: LineCounts,
}

impl LineState {
    /// Of one that is asked who somebody is.
    pub fn of_authentication(name: &str, is_resting: bool, counts: LineCounts) -> Self {
        Self { name: name.into(), role: "authentication", is_resting, counts }
    }

    /// Of one that is asked what somebody may do.
    pub fn of_authorization(name: &str, is_resting: bool, counts: LineCounts) -> Self {
        Self { name: name.into(), role: "authorization", is_resting, counts }
    }
}
