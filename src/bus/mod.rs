//! The publish/subscribe core.

pub mod retained;
pub mod routes;
pub mod shared;
