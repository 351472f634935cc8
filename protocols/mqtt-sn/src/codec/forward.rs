use crate::{EncodeError, PacketError, packet::FORWARDED};

/// The longest wireless node id: the header's length takes one byte.
pub const NODE_BYTES_MAX: usize = 252;

/// A message that came through a forwarder (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// How far a broadcast shall go, 0 to 3; 0 is everybody.
    pub radius: u8,
    /// Who sent it, or shall get it.
    pub node: &'a [u8],
    /// The message itself.
    pub message: &'a [u8],
}

/// The wireless node id of a forwarded message; empty for any other.
pub fn node(datagram: &[u8]) -> &[u8] {
    match *datagram {
        [length, FORWARDED, _, ..] if length > 3 => datagram.get(3..usize::from(length)).unwrap_or_default(),
        _ => &[],
    }
}

/// Takes the forwarder's header off; `None` for a message without one.
///
/// # Errors
/// [`PacketError::NoNode`] for a header without a node id, [`PacketError::NestedForwarding`] for a second header, [`PacketError::Truncated`], and
/// [`PacketError::Length`] for a header whose length has three bytes, which the specification does not have.
pub fn unwrap(datagram: &[u8]) -> Result<Option<Forwarded<'_>>, PacketError> {
    let (length, rest) = match *datagram {
        [1, _, _, FORWARDED, ..] => return Err(PacketError::Length),
        [1, ..] => return Ok(None),
        [length, FORWARDED, ref rest @ ..] => (usize::from(length), rest),
        _ => return Ok(None),
    };
    if length < 3 {
        return Err(PacketError::Length);
    }
    let (control, rest) = rest.split_first().ok_or(PacketError::Truncated)?;
    let (node, message) = rest.split_at_checked(length - 3).ok_or(PacketError::Truncated)?;
    if node.is_empty() {
        return Err(PacketError::NoNode);
    }
    if matches!(*message, [1, _, _, FORWARDED, ..])
        || (message.first() != Some(&1) && message.get(1) == Some(&FORWARDED))
    {
        return Err(PacketError::NestedForwarding);
    }
    Ok(Some(Forwarded { radius: control & 0b11, node, message }))
}

/// Appends the header for a message that goes to `node`; the message itself is to follow.
///
/// # Errors
/// [`EncodeError::NodeLength`]; nothing is written then.
pub fn wrap(out: &mut Vec<u8>, radius: u8, node: &[u8]) -> Result<(), EncodeError> {
    if node.is_empty() || node.len() > NODE_BYTES_MAX {
        return Err(EncodeError::NodeLength);
    }
    out.extend_from_slice(&[3 + node.len() as u8, FORWARDED, radius & 0b11]);
    out.extend_from_slice(node);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn section_5_5_headers_are_checked() {
        for (bytes, expected) in [
            (&[3, FORWARDED, 0, 2, 0x17][..], Err(PacketError::NoNode)),
            (&[2, FORWARDED], Err(PacketError::Length)),
            (&[4, FORWARDED], Err(PacketError::Truncated)),
            (&[5, FORWARDED, 0, 7], Err(PacketError::Truncated)),
            (&[1, 0, 9, FORWARDED, 0, 7], Err(PacketError::Length)),
            (&[4, FORWARDED, 0, 7, 4, FORWARDED, 0, 7, 2, 0x17], Err(PacketError::NestedForwarding)),
            (&[4, FORWARDED, 0, 7, 1, 0, 9, FORWARDED, 0, 7], Err(PacketError::NestedForwarding)),
            (&[2, 0x17], Ok(None)),
            // The length of a long message may look like the type.
            (&[1, FORWARDED, 4, 0x17], Ok(None)),
            (&[4, FORWARDED, 2, 7, 2, 0x17], Ok(Some(Forwarded { radius: 2, node: &[7], message: &[2, 0x17] }))),
        ] {
            assert_eq!(unwrap(bytes), expected, "{bytes:02x?}");
        }
        assert_eq!(node(&[5, FORWARDED, 0, 7, 8, 2, 0x17]), [7, 8]);
        assert_eq!(node(&[5, FORWARDED, 0, 7]), []);
        assert_eq!(node(&[2, 0x17]), []);
    }

    proptest! {
        #[test]
        fn round_trip(id in vec(any::<u8>(), 1..=NODE_BYTES_MAX), radius in 0u8..4) {
            let mut out = Vec::new();
            wrap(&mut out, radius, &id).expect("short");
            out.extend_from_slice(&[2, 0x17]);
            prop_assert_eq!(unwrap(&out), Ok(Some(Forwarded { radius, node: &id, message: &[2, 0x17] })));
            prop_assert_eq!(node(&out), &id[..]);
        }

        /// Both ways to find the node agree.
        #[test]
        fn the_node_is_found_without_a_check(data in vec(any::<u8>(), 0..12)) {
            if let Ok(Some(forwarded)) = unwrap(&data) {
                prop_assert_eq!(node(&data), forwarded.node);
            }
        }
    }

    #[test]
    fn bad_node_ids_are_not_written() {
        let mut out = Vec::new();
        assert_eq!(wrap(&mut out, 0, &[]), Err(EncodeError::NodeLength));
        assert_eq!(wrap(&mut out, 0, &[0; 253]), Err(EncodeError::NodeLength));
        assert!(out.is_empty());
    }
}
