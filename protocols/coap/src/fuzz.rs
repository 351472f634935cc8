/// Placeholder.
pub fn fuzz_bytes(_data: &[u8]) {}
