use std::cell::Cell;

/// Longest record on the wire that TLS 1.2 allows: 5 bytes of header, 2^14 of data, 2,048 of overhead.
pub(super) const RECORD_BYTES_MAX: usize = 5 + 16_384 + 2_048;
/// Most plaintext that one write encrypts: two full records.
pub(super) const WRITE_BYTES_MAX: usize = 2 * 16_384;

/// Buffers for the length of one call, shared by all connections of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// Records from the peer.
    pub(super) incoming: Vec<u8>,
    /// Plaintext from several slices.
    pub(super) plain: Vec<u8>,
    /// Records for the peer.
    pub(super) outgoing: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends the thread's buffers. A call within the call gets new ones, which are freed after it.
pub(super) fn with<R>(call: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = call(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// Makes a buffer at least so long; what it held is not important.
pub(super) fn ensure(buffer: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    buffer
}
