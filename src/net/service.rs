use std::sync::Arc;

use thingway_contract::Protocol;

use super::{Cores, core::Clock, faults::Faults};
use crate::{access::Access, bus::Bus};

/// What all connections of a listener share.
pub struct Service<P: Protocol> {
    /// The bus.
    pub bus: Arc<Bus>,
    /// The access rules.
    pub access: Arc<Access>,
    /// The protocol's settings.
    pub config: Arc<P::Config>,
    /// The cores.
    pub cores: Cores,
    /// The clock.
    pub clock: Clock,
    /// Where faults of peers are reported.
    pub faults: Faults,
}
