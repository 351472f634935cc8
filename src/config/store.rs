use super::{
    schema::{settings, words},
    value::Size,
};

words! {
    /// What is promised of what was acknowledged.
    pub enum StoreDurability {
        /// It survives power cuts.
        Fsync = "fsync",
        /// It survives the gateway's sudden end.
        Os = "os",
        /// It ends with the gateway.
        Memory = "memory",
    }
}

settings! {
    /// What outlives a connection: sessions that clients ask to be kept, what waits for them, retained and delayed messages. It is kept in the folder
    /// `store` below `gateway.data_dir`.
    pub struct Store {
        /// What an acknowledgement promises: "fsync" (it is on the disk: it survives a power cut), "os" (it is with the operating system: it survives
        /// the gateway's sudden end, but a power cut may take the last of it) or "memory" (nothing is written; it ends with the gateway).
        durability: StoreDurability = StoreDurability::Fsync;
        /// Bytes of memory for messages that wait and were lately written or read; others are read from the disk when their turn comes.
        cache_max: Size = Size::mib(64);
        /// Bytes of log after which rows of state are brought up to date. More makes that rarer, and a start after a sudden end slower.
        log_max: Size = Size::mib(64);
    }
}
