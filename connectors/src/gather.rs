use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    row::{Field, Row, Rows},
};

/// Most rows of an answer.
pub(crate) const ROWS_MAX: usize = 1000;
/// Most bytes of one value.
pub(crate) const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of all values of an answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Collects an answer, within its bounds.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    rows: Rows,
    bytes: usize,
}

impl Gather {
    /// So many more bytes come.
    pub fn weigh(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        if bytes > VALUE_BYTES_MAX || self.bytes > ANSWER_BYTES_MAX { Err(Failure::TooLarge) } else { Ok(()) }
    }

    /// One more row.
    pub fn push(&mut self, row: Row) -> Result<(), Failure> {
        if self.rows.len() >= ROWS_MAX {
            return Err(Failure::TooLarge);
        }
        self.rows.push(row);
        Ok(())
    }

    pub fn into_rows(self) -> Rows {
        self.rows
    }
}

/// Text if it is, and bytes if not.
pub(crate) fn text_or_bytes(bytes: Vec<u8>) -> Field {
    match String::from_utf8(bytes) {
        Ok(text) => Field::Text(Zeroizing::new(text)),
        Err(error) => Field::Bytes(Zeroizing::new(error.into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_bounded_in_every_way() {
        let mut gather = Gather::default();
        for _ in 0..ROWS_MAX {
            assert_eq!(gather.push(Row::default()), Ok(()));
        }
        assert_eq!(gather.push(Row::default()), Err(Failure::TooLarge));
        assert_eq!(Gather::default().weigh(VALUE_BYTES_MAX + 1), Err(Failure::TooLarge));
        let mut gather = Gather::default();
        for _ in 0..ANSWER_BYTES_MAX / VALUE_BYTES_MAX {
            assert_eq!(gather.weigh(VALUE_BYTES_MAX), Ok(()));
        }
        assert_eq!(gather.weigh(1), Err(Failure::TooLarge));
        assert!(matches!(text_or_bytes(vec![0xff]), Field::Bytes(_)));
        assert!(matches!(text_or_bytes(vec![b'a']), Field::Text(_)));
    }
}
