/// What a store promises of what it has accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Accepted is on the disk: it survives a crash of the gateway, of the kernel, and a power cut.
    #[default]
    Fsync,
    /// Accepted is with the kernel: it survives the gateway's end, however sudden. A power cut may take the last of it.
    Os,
    /// Accepted is in the gateway's memory, and ends with the gateway.
    Memory,
}
