//! Where what outlives a connection is kept: the journal, which commits records in groups, and the places that it can write to.

mod journal;

pub use self::journal::{Journal, Settled, Ticket, Wake};
