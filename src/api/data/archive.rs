//! Archives as files: gzip around tar (POSIX.1-1988 "ustar"), as much of it as a few plain files need, and nothing that could reach outside of it.

use std::io::{self, BufReader, Read, Write};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};

const BLOCK: usize = 512;
/// Bytes of everything that is in an archive.
pub const UNPACKED_MAX: u64 = 4 << 30;
/// Entries of any kind.
const ENTRIES_MAX: usize = 64;
/// Bytes of an entry that only describes the next one.
const EXTENSION_MAX: u64 = 64 << 10;
/// Zeros behind the last entry: programs fill up a record with them.
const TAIL_MAX: u64 = 1 << 20;

/// Writes an archive.
pub struct Writer<W: Write>(GzEncoder<W>);

impl<W: Write> Writer<W> {
    /// An empty one.
    pub fn new(out: W) -> Self {
        Self(GzEncoder::new(out, Compression::default()))
    }

    /// Adds a file of so many bytes. Names are short.
    ///
    /// # Errors
    /// When it cannot be written, or its content has another length.
    pub fn add(&mut self, name: &str, unix_secs: u64, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.0.write_all(&header(name, unix_secs, size))?;
        if io::copy(&mut content.take(size), &mut self.0)? != size {
            return Err(io::Error::other(format!("{name} is shorter than it was")));
        }
        self.0.write_all(&[0; BLOCK][..padding(size)])
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.finish()
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

fn header(name: &str, unix_secs: u64, size: u64) -> [u8; BLOCK] {
    debug_assert!(name.len() <= 100 && size < 1 << 33, "what the fields have room for");
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", unix_secs.min((1 << 33) - 1)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The sum of a header's bytes, with spaces where it is itself.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let bytes = block.iter().enumerate();
    bytes.map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) }).sum()
}

/// Why bytes are no archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// They are no gzip, are damaged, or end early.
    #[error("it is no whole .tar.gz: {0}")]
    Damaged(io::Error),
    /// A header that is none.
    #[error("it is no tar: entry {0} has a wrong checksum or length")]
    Header(usize),
    /// Something else than a file.
    #[error("entry {0:?} is no plain file")]
    Kind(String),
    /// There are too many entries.
    #[error("there are more than {ENTRIES_MAX} entries")]
    TooMany,
    /// It unpacks to too much.
    #[error("it unpacks to more than {UNPACKED_MAX} bytes")]
    TooLarge,
    /// Something comes after the end.
    #[error("there is something behind its end")]
    Behind,
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) {
            true => Self::TooLarge,
            false => Self::Damaged(error),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it unpacks to too much")]
struct TooLarge;

/// Reads an archive, from its beginning to its end.
pub struct Reader<R: Read> {
    input: Bounded<GzDecoder<BufReader<R>>>,
    entries: usize,
    /// What of the present entry was not read, and what fills its last block.
    left: u64,
    padding: u64,
}

/// No more than so many bytes come out of it.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(TooLarge)),
        }
        Ok(count)
    }
}

impl<R: Read> Reader<R> {
    /// One that unpacks to so many bytes at most.
    pub fn new(input: R, unpacked_max: u64) -> Self {
        let input = Bounded { input: GzDecoder::new(BufReader::with_capacity(1 << 16, input)), left: unpacked_max };
        Self { input, entries: 0, left: 0, padding: 0 }
    }

    /// The name of the next file, whose content is read from this then; `None` when the archive has ended as it should.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn next(&mut self) -> Result<Option<String>, ArchiveError> {
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            self.input.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                return self.end().map(|()| None);
            }
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(ArchiveError::TooMany);
            }
            let wrong = || ArchiveError::Header(self.entries);
            if octal(&block[148..156]) != Some(checksum(&block)) {
                return Err(wrong());
            }
            let size = octal(&block[124..136]).ok_or_else(wrong)?;
            let name = text(&block[..100]);
            let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { String::new() };
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            (self.left, self.padding) = (size, padding(size) as u64);
            match block[156] {
                b'0' | 0 => return Ok(Some(name.strip_prefix("./").unwrap_or(&name).to_owned())),
                // What other programs write beside the files: folders, and more about the next entry than is wanted.
                b'5' if size == 0 => {}
                b'x' | b'g' if size <= EXTENSION_MAX => {}
                _ => return Err(ArchiveError::Kind(name)),
            }
        }
    }

    /// Goes to the next header.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        let count = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.input).take(count), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped == count { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }

    /// After the first empty block there are only zeros. Reading to the end checks what gzip says of it all.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut block = [0; BLOCK];
        let mut tail = 0;
        loop {
            let count = self.input.read(&mut block)?;
            tail += count as u64;
            if count == 0 {
                break;
            }
            if tail > TAIL_MAX || block[..count].iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::Behind);
            }
        }
        match self.input.input.get_mut().read(&mut block)? {
            0 => Ok(()),
            _ => Err(ArchiveError::Behind),
        }
    }
}

impl<R: Read> Read for Reader<R> {
    /// The present file's content.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.input.read(&mut into[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Text up to the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// An octal number with spaces and NULs around it.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    let is_number = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    is_number.then(|| u64::from_str_radix(text, 8).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, content) in files {
            writer.add(name, 7, content.len() as u64, &mut &content[..]).expect("memory never fails");
        }
        writer.finish().expect("memory never fails")
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let mut reader = Reader::new(bytes, 1 << 20);
        let mut files = Vec::new();
        while let Some(name) = reader.next()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            files.push((name, content));
        }
        Ok(files)
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).expect("memory never fails");
        out.finish().expect("memory never fails")
    }

    /// A header as other programs write it.
    fn entry(name: &str, kind: u8, size: u64) -> [u8; BLOCK] {
        let mut block = header(name, 7, size);
        block[156] = kind;
        let sum = checksum(&block);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn files_are_read_as_written() {
        for size in [0, 1, 511, 512, 513, 70_000] {
            let content = vec![b'x'; size];
            let found = read(&archive(&[("a", &content), ("b", b"second")])).expect("an archive");
            assert_eq!(found, [("a".to_owned(), content), ("b".to_owned(), b"second".to_vec())], "{size}");
        }
        assert_eq!(read(&archive(&[])).expect("an archive"), []);
    }

    #[test]
    fn what_other_programs_write_beside_files_is_left_out() {
        let extended = entry("x", b'x', 10);
        let mut block = [b'p'; BLOCK];
        block[10..].fill(0);
        let bytes = [&entry("./", b'5', 0)[..], &extended, &block, &entry("./a", 0, 0), &[0; 5 * BLOCK]].concat();
        assert_eq!(read(&zipped(&bytes)).expect("an archive"), [("a".to_owned(), Vec::new())]);
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let whole = archive(&[("a", &[b'x'; 5000]), ("b", b"second")]);
        for length in 0..whole.len() {
            assert!(matches!(read(&whole[..length]), Err(ArchiveError::Damaged(_))), "{length}");
        }
        let damaged = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            read(&bytes)
        };
        assert!(damaged(0).is_err() && damaged(whole.len() - 1).is_err() && damaged(whole.len() / 2).is_err());
        assert!(matches!(read(&[&whole[..], b"x"].concat()), Err(ArchiveError::Behind)));
        assert!(matches!(read(&zipped(&[&[0; 2 * BLOCK][..], b"x"].concat())), Err(ArchiveError::Behind)));
        assert!(matches!(read(&zipped(&[b'x'; BLOCK])), Err(ArchiveError::Header(1))));
        assert!(matches!(read(&zipped(&header("a", 0, 600))), Err(ArchiveError::Damaged(_))));
    }

    #[test]
    fn links_and_devices_are_no_files() {
        for kind in [b'1', b'2', b'3', b'4', b'6', b'7', b'L', b'K', b'S'] {
            let bytes = zipped(&[&entry("a", kind, 0)[..], &[0; 2 * BLOCK]].concat());
            assert!(matches!(read(&bytes), Err(ArchiveError::Kind(name)) if name == "a"), "{kind}");
        }
        let large = zipped(&entry("a", b'x', 1 << 30));
        assert!(matches!(read(&large), Err(ArchiveError::Kind(_))));
    }

    #[test]
    fn bombs_do_not_go_off() {
        let zeros = vec![0; (1 << 20) + 2 * BLOCK];
        assert!(matches!(read(&archive(&[("a", &zeros)])), Err(ArchiveError::TooLarge)));
        let bytes = zipped(&zeros);
        let mut end = Reader::new(&bytes[..], UNPACKED_MAX);
        assert!(matches!(end.next(), Err(ArchiveError::Behind)), "after its end");
        let many = vec![("a", &b""[..]); ENTRIES_MAX + 1];
        assert!(matches!(read(&archive(&many)), Err(ArchiveError::TooMany)));
    }
}
