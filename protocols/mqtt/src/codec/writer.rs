use super::varint;
use crate::EncodeError;

pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?;
    put_u16(out, length);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    put_bytes(out, text.as_bytes())
}

/// Writes a packet: the first byte, the length of what `body` writes, and that. On an error nothing is written.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    first: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(first);
    let result = put_varint_prefixed(out, body);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Writes what `body` writes with its length in front. Most are short, so one byte is kept free for the length and the
/// rare long one is moved.
fn put_varint_prefixed(
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let at = out.len();
    out.push(0);
    body(out)?;
    let length = out.len() - at - 1;
    let length = u32::try_from(length).ok().filter(|&l| l <= varint::MAX).ok_or(EncodeError::PacketTooLarge)?;
    if length < 128 {
        out[at] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(4);
        varint::put(&mut prefix, length);
        out.splice(at..=at, prefix);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_get_long_lengths() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut out = vec![9];
            put_frame(&mut out, 0x30, |out| {
                out.resize(out.len() + length, 7);
                Ok(())
            })
            .expect("fits");
            let (value, used) = varint::decode(&out[2..]).expect("valid").expect("whole");
            assert_eq!((value as usize, used), (length, varint::len(length as u32)));
            assert_eq!(out.len(), 2 + used + length);
            assert!(out[2 + used..].iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let mut out = vec![1];
        let long = vec![0; 65_536];
        assert_eq!(put_frame(&mut out, 0x30, |out| put_bytes(out, &long)), Err(EncodeError::FieldTooLong));
        assert_eq!(out, [1]);
    }
}
