//! Where what outlives a connection is kept: the journal, which commits records in groups, and the places that it can write to.

mod commit;

pub use self::commit::{Journal, Settled, Ticket, Wake};
