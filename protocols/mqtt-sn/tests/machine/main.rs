//! Scripts against the machine: each rule of the specification that has consequences for a client, and what the gateway makes of its gaps.

mod connect;
mod discovery;
mod ending;
mod keeping;
mod kept;
mod outbound;
mod publish;
mod restart;
mod simulated_client;
mod simulated_gateway;
mod simulation;
mod sleep;
mod subscribe;
mod support;
mod will;
