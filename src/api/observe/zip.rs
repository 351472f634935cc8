//! One file as a zip (APPNOTE 6.3), deflated: what EMQX sends of a trace.

use std::io::{self, Write};

use flate2::{Compression, Crc, write::DeflateEncoder};

/// Needed to unpack it: deflate.
const VERSION: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
const DEFLATED: u16 = 8;

/// A zip with this file in it, which has less than 4 GiB. The time is given in seconds since 1970, and told in UTC.
///
/// # Errors
/// Memory never fails; the file or its name is too long.
pub fn zip(name: &str, unix_secs: u64, content: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::other("too long for a zip");
    let name_bytes = u16::try_from(name.len()).map_err(too_long)?;
    let size = u32::try_from(content.len()).map_err(too_long)?;
    let mut crc = Crc::new();
    crc.update(content);
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(content)?;
    let packed = packed.finish()?;
    let packed_size = u32::try_from(packed.len()).map_err(too_long)?;
    let (date, time) = dos_time(unix_secs);
    let mut common = Vec::new();
    for half in [VERSION, FLAGS, DEFLATED, time, date] {
        common.extend(half.to_le_bytes());
    }
    for word in [crc.sum(), packed_size, size] {
        common.extend(word.to_le_bytes());
    }
    common.extend(name_bytes.to_le_bytes());
    // No extra field.
    common.extend([0; 2]);
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(&common);
    zip.extend(name.as_bytes());
    zip.extend(packed);
    let directory = u32::try_from(zip.len()).map_err(too_long)?;
    zip.extend(b"PK\x01\x02");
    // Made on Unix, so that the mode counts.
    zip.extend((3 << 8 | VERSION).to_le_bytes());
    zip.extend(&common);
    // No comment, on the first disk, binary.
    zip.extend([0; 6]);
    zip.extend((0o100_600_u32 << 16).to_le_bytes());
    zip.extend(0_u32.to_le_bytes());
    zip.extend(name.as_bytes());
    let directory_size = u32::try_from(zip.len()).map_err(too_long)? - directory;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend(directory_size.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0; 2]);
    Ok(zip)
}

/// A date and a time as zips have them, from 1980 to 2107.
fn dos_time(unix_secs: u64) -> (u16, u16) {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(unix_secs.min(4_354_819_199));
    // "2026-01-31T23:59:59Z"
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let part = |at: std::ops::Range<usize>| text.get(at).and_then(|digits| digits.parse::<u16>().ok()).unwrap_or(0);
    match part(0..4).checked_sub(1980) {
        None => (1 << 5 | 1, 0),
        Some(years) => {
            let date = years << 9 | part(5..7) << 5 | part(8..10);
            (date, part(11..13) << 11 | part(14..16) << 5 | (part(17..19) / 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;

    #[test]
    fn times_are_those_of_dos() {
        assert_eq!(dos_time(0), (0x21, 0), "1980-01-01");
        assert_eq!(dos_time(1_700_759_599), (43 << 9 | 11 << 5 | 23, 17 << 11 | 13 << 5 | 9), "2023-11-23 17:13:19");
        assert_eq!(dos_time(u64::MAX).0 >> 9, 127, "2107");
    }

    #[test]
    fn what_is_in_it_is_found_where_it_says() {
        let content = b"line\n".repeat(1000);
        let zip = zip("node-t.log", 1_700_759_599, &content).expect("a zip");
        let word = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().expect("four")) as usize;
        let end = zip.len() - 22;
        assert_eq!(&zip[end..end + 4], b"PK\x05\x06");
        let (size, directory) = (word(end + 12), word(end + 16));
        assert_eq!((directory + size, &zip[directory..directory + 4]), (end, &b"PK\x01\x02"[..]));
        assert_eq!(&zip[directory + 46..end], b"node-t.log");
        // The local header says the same.
        assert_eq!(&zip[..4], b"PK\x03\x04");
        assert_eq!(zip[4..30], zip[directory + 6..directory + 32]);
        let packed = &zip[30 + "node-t.log".len()..directory];
        assert_eq!((word(18), word(22)), (packed.len(), content.len()));
        let mut found = Vec::new();
        DeflateDecoder::new(packed).read_to_end(&mut found).expect("deflated");
        assert_eq!(found, content);
    }
}
