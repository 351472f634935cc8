use thingway_coap::{
    blockwise::{Assembly, Block, Piece},
    codec::{Code, Packet, option},
};

use super::{answer::explain, link::Link};
use crate::cli::client::error::ClientError;

/// Longest payload that is put together, as that of MQTT.
const BODY_BYTES_MAX: usize = 268_435_455;

impl Link {
    /// Asks something, once more with the proof of this client's address if the server wants that first (RFC 9175, section 2.3).
    pub async fn ask(&mut self, request: &Packet, name: &'static str) -> Result<Packet, ClientError> {
        let response = self.ask_once(request, name).await?;
        if response.code() == Code::UNAUTHORIZED && self.echo.is_some() {
            return self.ask_once(request, name).await;
        }
        Ok(response)
    }

    async fn ask_once(&mut self, request: &Packet, name: &'static str) -> Result<Packet, ClientError> {
        let mut request = request.clone();
        if let Some(echo) = self.echo.take() {
            request.push(option::ECHO, &echo);
        }
        let response = self.request(request, name).await?;
        self.keep_echo(&response);
        Ok(response)
    }

    pub(super) fn keep_echo(&mut self, response: &Packet) {
        if let Some(echo) = response.first(option::ECHO) {
            self.echo = Some(echo.to_vec());
        }
    }

    /// Sends a request with a body, in blocks if it is large (RFC 7959, section 2.5). A small one may be sent so that nobody knows whether it arrives;
    /// then there may be no response.
    pub async fn upload(
        &mut self,
        request: &Packet,
        body: &[u8],
        confirmable: bool,
    ) -> Result<Option<Packet>, ClientError> {
        let mut block = Block { number: 0, more: false, exponent: Block::EXPONENT_MAX };
        if body.len() <= block.bytes() {
            let mut request = request.clone();
            request.set_payload(body.to_vec());
            return if confirmable {
                self.ask(&request, "PUT").await.map(Some)
            } else {
                self.tell(request, "PUT").await
            };
        }
        let mut restarted = false;
        while let Some((piece, bytes)) = block.slice(body) {
            let mut request = request.clone();
            request.push_uint(option::BLOCK1, piece.value());
            if piece.number == 0 {
                request.push_uint(option::SIZE1, u32::try_from(body.len()).unwrap_or(u32::MAX));
            }
            request.set_payload(bytes.to_vec());
            let response = self.ask(&request, "PUT").await?;
            let exponent = Block::of_request(&response).ok().flatten().map_or(piece.exponent, |block| block.exponent);
            match response.code() {
                Code::CONTINUE if piece.more => {
                    block = Block { number: piece.number + 1, ..piece }.at_most(exponent);
                }
                // Smaller blocks may do (section 2.9.3).
                Code::REQUEST_ENTITY_TOO_LARGE if piece.number == 0 && exponent < piece.exponent => {
                    block = Block { number: 0, more: false, exponent };
                }
                // The server has forgotten what came before (section 2.9.2).
                Code::REQUEST_ENTITY_INCOMPLETE if piece.number > 0 && !restarted => {
                    restarted = true;
                    block = Block { number: 0, ..piece };
                }
                _ => return Ok(Some(response)),
            }
        }
        Err(ClientError::Unexpected("2.31 Continue behind the last block".into()))
    }

    /// The whole payload of a response, whose further blocks are fetched by the request that it belongs to (RFC 7959, sections 2.4 and 2.6). `None` when
    /// they are not to be had any more, which is told.
    pub async fn body(&mut self, request: &Packet, mut response: Packet) -> Result<Option<Vec<u8>>, ClientError> {
        self.keep_echo(&response);
        let of = |response: &Packet| {
            Block::of_response(response).map_err(|error| ClientError::BadPacket(format!("{error:?}")))
        };
        let Some(mut block) = of(&response)?.filter(|block| block.more) else {
            return Ok(Some(response.take_payload()));
        };
        let etag = response.first(option::ETAG).map(<[u8]>::to_vec);
        let mut assembly = Assembly::default();
        loop {
            match assembly.add(block, response.payload(), BODY_BYTES_MAX) {
                Piece::Whole => return Ok(Some(assembly.take())),
                Piece::More => {}
                other => return Err(ClientError::BadPacket(format!("{other:?}"))),
            }
            let wanted = Block { number: block.number + 1, more: false, ..block };
            let mut request = request.clone();
            request.push_uint(option::BLOCK2, wanted.value());
            response = self.ask(&request, "GET").await?;
            if !response.code().is_success() {
                eprintln!("a message is lost, for the rest of it is not to be had: {}", explain(&response));
                return Ok(None);
            }
            if response.first(option::ETAG) != etag.as_deref() {
                eprintln!("a message is lost, for another took its place while it was fetched");
                return Ok(None);
            }
            block = of(&response)?.ok_or_else(|| ClientError::Unexpected("a response without Block2".into()))?;
        }
    }
}
