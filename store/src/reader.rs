use crate::{Backend, BackendError, Change, Position, Table, VisitBlock, VisitRow};

/// Reads a backend and changes nothing: what is written to it is forgotten at once, without an error. So a keeper can be opened on it, which records
/// that it was, and shows what the next one would find.
#[derive(Debug)]
pub struct Reader<B>(pub B);

impl<B: Backend> Backend for Reader<B> {
    fn append(&mut self, _: Position, _: &[u8]) -> Result<(), BackendError> {
        Ok(())
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        self.0.block(at)
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        self.0.blocks(from, visit)
    }

    fn write(&mut self, _: Vec<Change>) -> Result<(), BackendError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn trim(&mut self, _: Position) -> Result<(), BackendError> {
        Ok(())
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.row(table, key)
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        self.0.rows(table, prefix, visit)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn cut_bytes(&self) -> u64 {
        self.0.cut_bytes()
    }
}
