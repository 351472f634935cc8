use thingway_store::{Bounds, Settings};

use super::{
    Config, DropOrder,
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
        /// Bytes of log after which rows of state are brought up to date, at the latest after 200,000 records. More makes that rarer, and a start after a
        /// sudden end slower.
        log_max: Size = Size::mib(64);
    }
}

impl Config {
    /// The folder of the store.
    pub fn store_folder(&self) -> std::path::PathBuf {
        self.gateway.data_dir.join("store")
    }

    /// What the store's machine is made with. Whoever reads a store needs what the gateway has that wrote it.
    pub fn store_settings(&self) -> Settings {
        let queue = &self.queue;
        Settings {
            attached: Bounds { messages: queue.messages_max as usize, bytes: queue.bytes_max.as_usize() as u64 },
            detached: Bounds {
                messages: queue.offline_messages_max as usize,
                bytes: queue.offline_bytes_max.as_usize() as u64,
            },
            bytes_total: queue.total_bytes_max.as_usize() as u64,
            newest_goes: queue.drop == DropOrder::Newest,
            ..Settings::default()
        }
    }
}
