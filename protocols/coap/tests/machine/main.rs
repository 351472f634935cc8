//! Scripts against the machine: datagrams in, datagrams and requests out, with a clock that the script moves.

mod amplification;
mod blockwise;
mod connection;
mod endpoint;
mod gateway;
mod kept;
mod killed;
mod message_layer;
mod observe;
mod publish;
mod pubsub;
mod read;
mod support;
