//! Checks fjall's journals before fjall reads them, and cuts what a crash left half written.
//!
//! fjall itself cuts a journal that ends early, but gives up when the last batch is whole in length and wrong in content, which is what a power cut
//! leaves in a file that is longer than what was written. It does not tell what it cut, and cuts older journals as well as the last one.
//!
//! A journal is a sequence of batches, each a start (`1`, count of items, sequence number), items (`2` with keyspace, key and value, or `4` with a
//! keyspace) and an end (`3`, checksum of the items, `FJL` and the version). After the last one there are zeros up to a length that was set before.
//! Tests hold this to what fjall writes: run them when fjall changes.

use std::{
    fs::{self, File},
    hash::Hasher,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thingway_store::BackendError;
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";

/// Sequence numbers grow by one for each batch, and by a few when a table is written. More is not a number that was written.
const SEQUENCE_STEP_MAX: u64 = 1 << 32;

/// What is done to the journals of a database that nobody has open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mend {
    /// Batches from this sequence number are cut as well: they failed, and must not be found.
    pub(super) below: Option<u64>,
    /// Write the last journal anew. After a failure to write, what is read may not be what is on the disk, and is not written again by asking twice.
    pub(super) rewrite: bool,
}

/// Cuts the last journal after its last whole batch. Returns how many bytes were cut, not counting zeros at the end.
///
/// # Errors
/// `Corrupt` when a journal before the last is damaged: those were safe, so that is no crash's work.
pub(super) fn mend(database: &Path, mend: Mend) -> Result<u64, BackendError> {
    let paths = paths(database)?;
    let mut sequence = None;
    let mut cut_bytes = 0;
    for (at, path) in paths.iter().enumerate() {
        // Of a rewriting that was not finished.
        fs::remove_file(path.with_extension("new")).or_else(not_found)?;
        let is_last = at + 1 == paths.len();
        let file = File::options().read(true).write(true).open(path)?;
        let mut journal = Journal::new(&file, mend.below.filter(|_| is_last))?;
        let end = journal.scan(&mut sequence)?;
        let rest_bytes = last_byte(&file, end)? - end;
        if !is_last && rest_bytes > 0 {
            return Err(BackendError::Corrupt(format!("{}: damaged at byte {end}", path.display()).into()));
        }
        if rest_bytes > 0 {
            file.set_len(end)?;
            file.sync_all()?;
            cut_bytes += rest_bytes;
        }
        if is_last && mend.rewrite {
            rewrite(path, end)?;
        }
    }
    Ok(cut_bytes)
}

/// Whether there is nothing in any journal, not even a damaged batch.
pub(super) fn are_empty(database: &Path) -> io::Result<bool> {
    for path in paths(database)? {
        if last_byte(&File::open(path)?, 0)? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bytes that the last journal takes.
pub(super) fn last_bytes(database: &Path) -> io::Result<u64> {
    paths(database)?.last().map_or(Ok(0), |path| Ok(fs::metadata(path)?.blocks() * 512))
}

/// The journals, in the order in which they were written.
pub(super) fn paths(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(database).into_iter().flatten() {
        let path = entry?.path();
        let number = path.extension().filter(|extension| *extension == "jnl").and(path.file_stem());
        if let Some(number) = number.and_then(|number| number.to_str()?.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn rewrite(path: &Path, length: u64) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut copy = File::create(&unfinished)?;
    io::copy(&mut File::open(path)?.take(length), &mut copy)?;
    copy.sync_all()?;
    fs::rename(unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The end of the last byte that is not zero, or `from`.
fn last_byte(mut file: &File, from: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut at, mut last) = (from, from);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(last);
        }
        if let Some(found) = bytes.iter().rposition(|&byte| byte != 0) {
            last = at + found as u64 + 1;
        }
        let read = bytes.len();
        at += read as u64;
        reader.consume(read);
    }
}

struct Journal<'a> {
    reader: BufReader<&'a File>,
    /// Bytes not read yet.
    left: u64,
    below: Option<u64>,
    checksum: Xxh3,
}

impl<'a> Journal<'a> {
    fn new(file: &'a File, below: Option<u64>) -> io::Result<Self> {
        let left = file.metadata()?.len();
        Ok(Self { reader: BufReader::with_capacity(1 << 16, file), left, below, checksum: Xxh3::new() })
    }

    /// Reads batches up to the first that is not whole, and returns where that begins. `sequence` is the last batch's number, before and after.
    fn scan(&mut self, sequence: &mut Option<u64>) -> io::Result<u64> {
        let length = self.left;
        let mut end = 0;
        while let Some(number) = self.batch()? {
            let follows = sequence.is_none_or(|last| number > last && number - last <= SEQUENCE_STEP_MAX);
            if !follows || self.below.is_some_and(|below| number >= below) {
                break;
            }
            *sequence = Some(number);
            end = length - self.left;
        }
        Ok(end)
    }

    /// The sequence number of the next batch, if that is whole.
    fn batch(&mut self) -> io::Result<Option<u64>> {
        self.checksum.reset();
        let Some([START]) = self.bytes()? else { return Ok(None) };
        let Some(count) = self.bytes()?.map(u32::from_le_bytes) else { return Ok(None) };
        let Some(number) = self.bytes()?.map(u64::from_le_bytes) else { return Ok(None) };
        for _ in 0..count {
            if !self.item()? {
                return Ok(None);
            }
        }
        let expected = self.checksum.finish();
        let Some([END]) = self.bytes()? else { return Ok(None) };
        let checksum = self.bytes()?.map(u64::from_le_bytes);
        let magic = self.bytes::<{ MAGIC.len() }>()?;
        let whole = checksum == Some(expected) && magic.is_some_and(|magic| magic == MAGIC);
        Ok(whole.then_some(number))
    }

    /// Reads an item into the checksum; false if it is not whole.
    fn item(&mut self) -> io::Result<bool> {
        let Some([kind]) = self.hashed()? else { return Ok(false) };
        match kind {
            ITEM => {
                // Kind of value, compression, keyspace.
                let Some([_, _, ..]) = self.hashed::<10>()? else { return Ok(false) };
                let Some(key_bytes) = self.hashed()?.map(u16::from_le_bytes) else { return Ok(false) };
                // Length before compression.
                let Some([_, ..]) = self.hashed::<4>()? else { return Ok(false) };
                let Some(value_bytes) = self.hashed()?.map(u32::from_le_bytes) else { return Ok(false) };
                self.hash(u64::from(key_bytes) + u64::from(value_bytes))
            }
            CLEAR => self.hash(8),
            _ => Ok(false),
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.left < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.left -= N as u64;
        Ok(Some(bytes))
    }

    fn hashed<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let bytes = self.bytes()?;
        if let Some(bytes) = &bytes {
            self.checksum.update(bytes);
        }
        Ok(bytes)
    }

    /// Reads so many bytes into the checksum; false if there are not so many.
    fn hash(&mut self, mut count: u64) -> io::Result<bool> {
        if count > self.left {
            return Ok(false);
        }
        self.left -= count;
        while count > 0 {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = bytes.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            self.checksum.update(&bytes[..take]);
            self.reader.consume(take);
            count -= take as u64;
        }
        Ok(true)
    }
}
