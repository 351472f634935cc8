use thingway_contract::{Instant, Message};

use super::Assembly;

/// A body that is sent in blocks.
#[derive(Clone, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// A message's payload, which is not copied.
    Message(Message),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Body {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Message(message) => message.payload(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A response that the peer fetches block by block: all blocks come from the very same body.
#[derive(Clone, Debug)]
pub struct Download {
    /// What was asked for: [`crate::codec::option::request_key`].
    pub key: u64,
    /// The body.
    pub body: Body,
    /// Its entity tag.
    pub etag: [u8; 8],
    /// Its Content-Format.
    pub format: Option<u16>,
    /// Its Max-Age.
    pub max_age_secs: Option<u32>,
    /// When it is forgotten; later with each block that is fetched.
    pub expires: Instant,
    /// Deliveries wait until it is fetched: it is a notification.
    pub holds: bool,
}

/// A request's body that comes block by block.
#[derive(Debug)]
struct Upload {
    key: u64,
    assembly: Assembly,
    expires: Instant,
}

/// The block-wise transfers of one peer: one upload, for a peer that begins another gives up the first, and a few downloads, the oldest of which makes
/// room for another.
#[derive(Debug, Default)]
pub struct Transfers {
    upload: Option<Upload>,
    downloads: Vec<Download>,
}

impl Transfers {
    /// The body that comes with this key. `begin` starts another in its place.
    pub fn upload(&mut self, key: u64, begin: bool, expires: Instant) -> Option<&mut Assembly> {
        if begin {
            self.upload = Some(Upload { key, assembly: Assembly::default(), expires });
        }
        let upload = self.upload.as_mut().filter(|upload| upload.key == key)?;
        upload.expires = expires;
        Some(&mut upload.assembly)
    }

    /// Forgets the upload.
    pub fn end_upload(&mut self) {
        self.upload = None;
    }

    /// Keeps a body to be fetched in blocks, in the place of an earlier one with its key.
    pub fn keep(&mut self, download: Download, downloads_max: usize) {
        self.downloads.retain(|other| other.key != download.key);
        while self.downloads.len() >= downloads_max.max(1) {
            self.downloads.remove(0);
        }
        self.downloads.push(download);
    }

    /// The body that is fetched with this key; it is kept for longer, and holds nothing back once its `last` block went out.
    pub fn fetch(&mut self, key: u64, expires: Instant) -> Option<&mut Download> {
        let download = self.downloads.iter_mut().find(|download| download.key == key)?;
        download.expires = expires;
        Some(download)
    }

    /// Until when deliveries wait because this or, without a key, any notification is being fetched.
    pub fn held_until(&self, key: Option<u64>) -> Option<Instant> {
        let held = self.downloads.iter().filter(|download| download.holds && key.is_none_or(|key| key == download.key));
        held.map(|download| download.expires).max()
    }

    /// Forgets what is over.
    pub fn prune(&mut self, now: Instant) {
        self.downloads.retain(|download| download.expires > now);
        self.upload.take_if(|upload| upload.expires <= now);
    }

    /// When there is something to forget.
    pub fn deadline(&self) -> Instant {
        let downloads = self.downloads.iter().map(|download| download.expires).min();
        let upload = self.upload.as_ref().map(|upload| upload.expires);
        downloads.into_iter().chain(upload).min().unwrap_or(Instant::NEVER)
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.upload.is_none() && self.downloads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO.plus_secs(secs)
    }

    fn download(key: u64, secs: u64, holds: bool) -> Download {
        let body = Body::Bytes(vec![key as u8]);
        Download { key, body, etag: [0; 8], format: None, max_age_secs: None, expires: at(secs), holds }
    }

    #[test]
    fn the_oldest_download_makes_room_and_all_end() {
        let mut transfers = Transfers::default();
        transfers.keep(download(1, 5, false), 2);
        transfers.keep(download(2, 6, true), 2);
        transfers.keep(download(2, 7, true), 2);
        assert!(transfers.fetch(1, at(5)).is_some(), "another with its own key took no room");
        transfers.keep(download(3, 8, false), 2);
        assert!(transfers.fetch(1, at(5)).is_none());
        assert_eq!((transfers.held_until(None), transfers.held_until(Some(3))), (Some(at(7)), None));
        transfers.fetch(2, at(9)).expect("kept").holds = false;
        assert_eq!(transfers.held_until(Some(2)), None);
        assert_eq!(transfers.deadline(), at(8));
        transfers.prune(at(9));
        assert!(transfers.is_empty());
    }

    #[test]
    fn an_upload_with_another_key_is_not_mixed_in() {
        let mut transfers = Transfers::default();
        assert!(transfers.upload(1, false, at(5)).is_none());
        assert!(transfers.upload(1, true, at(5)).is_some());
        assert!(transfers.upload(2, false, at(5)).is_none());
        assert!(transfers.upload(2, true, at(5)).is_some());
        assert!(transfers.upload(1, false, at(5)).is_none());
        transfers.prune(at(5));
        assert!(transfers.is_empty());
    }
}
