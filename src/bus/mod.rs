//! The publish/subscribe core.

pub mod routes;
pub mod shared;
