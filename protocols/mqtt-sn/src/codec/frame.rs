use crate::{EncodeError, PacketError};

/// The longest message that a length can tell (section 5.2.1).
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// The longest message whose length takes one byte.
const SHORT_BYTES_MAX: usize = 255;

/// The first byte of a length of three bytes.
const LONG: u8 = 0x01;

/// A message cut into type and variable part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message type.
    pub kind: u8,
    /// What follows it.
    pub body: &'a [u8],
    /// Bytes of the whole message.
    pub total_bytes: usize,
}

/// Cuts the first message off `bytes`. The long form of the length is taken for any length.
///
/// # Errors
/// [`PacketError::Truncated`] when the message is not all there, [`PacketError::Length`] for a length that does not even hold the header.
pub fn split(bytes: &[u8]) -> Result<Frame<'_>, PacketError> {
    let (header_bytes, total_bytes) = match *bytes {
        [LONG, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [LONG, ..] | [] => return Err(PacketError::Truncated),
        [length, ..] => (2, usize::from(length)),
    };
    if total_bytes < header_bytes {
        return Err(PacketError::Length);
    }
    let message = bytes.get(..total_bytes).ok_or(PacketError::Truncated)?;
    Ok(Frame { kind: message[header_bytes - 1], body: &message[header_bytes..], total_bytes })
}

/// Bytes of a message whose variable part has `body_bytes`.
pub const fn frame_bytes(body_bytes: usize) -> usize {
    if body_bytes + 2 <= SHORT_BYTES_MAX { body_bytes + 2 } else { body_bytes + 4 }
}

/// Appends a message: its length, its type, and what `body` writes. The long form of the length is written only where it must be. On an error nothing
/// is written.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    kind: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    // Most messages are short, so that the rare long one is moved.
    out.extend_from_slice(&[0, kind]);
    let written = body(out);
    let body_bytes = out.len() - start - 2;
    let total_bytes = frame_bytes(body_bytes);
    if let Err(error) = written.and(if total_bytes > MESSAGE_BYTES_MAX { Err(EncodeError::TooLong) } else { Ok(()) }) {
        out.truncate(start);
        return Err(error);
    }
    if total_bytes <= SHORT_BYTES_MAX {
        out[start] = total_bytes as u8;
    } else {
        let [high, low] = (total_bytes as u16).to_be_bytes();
        out.splice(start..=start, [LONG, high, low]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body_bytes: usize) -> Result<Vec<u8>, EncodeError> {
        let mut out = vec![9];
        put_frame(&mut out, 0x0c, |out| {
            out.resize(out.len() + body_bytes, 7);
            Ok(())
        })?;
        assert_eq!(out.remove(0), 9);
        Ok(out)
    }

    #[test]
    fn section_5_2_1_the_long_form_is_written_only_above_255() {
        for (body_bytes, head) in
            [(0, &[2, 0x0c][..]), (253, &[255, 0x0c]), (254, &[1, 1, 2, 0x0c]), (65_531, &[1, 255, 255, 0x0c])]
        {
            let bytes = written(body_bytes).expect("fits");
            assert_eq!(&bytes[..head.len()], head);
            assert_eq!(bytes.len(), frame_bytes(body_bytes));
            let frame = split(&bytes).expect("whole");
            assert_eq!((frame.kind, frame.body.len(), frame.total_bytes), (0x0c, body_bytes, bytes.len()));
        }
        assert_eq!(written(65_532), Err(EncodeError::TooLong));
    }

    #[test]
    fn section_5_2_1_the_long_form_is_read_for_any_length() {
        assert_eq!(split(&[1, 0, 5, 0x18, 9]), Ok(Frame { kind: 0x18, body: &[9], total_bytes: 5 }));
        assert_eq!(split(&[1, 0, 4, 0x18, 9]), Ok(Frame { kind: 0x18, body: &[], total_bytes: 4 }));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for (bytes, error) in [
            (&[][..], PacketError::Truncated),
            (&[0, 0x18], PacketError::Length),
            (&[1], PacketError::Truncated),
            (&[1, 0], PacketError::Truncated),
            (&[1, 0, 3, 0x18], PacketError::Length),
            (&[2], PacketError::Truncated),
            (&[3, 0x18], PacketError::Truncated),
            (&[1, 0, 5, 0x18], PacketError::Truncated),
        ] {
            assert_eq!(split(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let mut out = vec![1];
        assert_eq!(put_frame(&mut out, 3, |_| Err(EncodeError::FieldTooLong)), Err(EncodeError::FieldTooLong));
        assert_eq!(out, [1]);
    }
}
