//! Real clients of MQTT, MQTT-SN and CoAP against a running gateway, end to end. docs/testing.md says what is needed and how to run a part.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(
    clippy::disallowed_methods,
    reason = "other processes can only be polled, the passing of real time only be slept through, and the queues here are fed by the test itself"
)]

mod agent;
mod aiocoap;
mod bridge;
mod certificates;
mod commands;
mod features;
mod libcoap;
mod matrix;
mod mosquitto;
mod mqtt_sn;
mod process;
mod rumqtt;
mod scram;
mod scripted;
mod scripts;
mod server;
mod tools;
mod wire;
