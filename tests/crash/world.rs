//! What all clients of a run share.

use std::{
    cell::{RefCell, RefMut},
    net::SocketAddr,
    time::Duration,
};

use tokio::sync::watch;

use crate::{figures::Fault, history::History};

/// How far a round is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Messages whose last acknowledgement came.
    pub acknowledged: u32,
    /// Messages that subscribers got.
    pub arrived: u32,
    /// Publishers that have nothing more to do.
    pub finished: u32,
    pub over: Option<Over>,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The server runs on.
    Alive,
    /// The server was killed: connections end by themselves, when all that had come was read.
    Killed,
}

/// Everything is on one thread.
#[derive(Debug)]
pub struct World {
    pub mqtt: SocketAddr,
    pub mqttsn: SocketAddr,
    pub coap: SocketAddr,
    /// Whether the server has MQTT-SN, CoAP and delayed publication.
    pub is_thingway: bool,
    history: RefCell<History>,
    progress: watch::Sender<Progress>,
}

impl World {
    pub fn new(mqtt: SocketAddr, [mqttsn, coap]: [SocketAddr; 2], is_thingway: bool) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { mqtt, mqttsn, coap, is_thingway, history: RefCell::default(), progress }
    }

    /// Not to be held across an await.
    pub fn history(&self) -> RefMut<'_, History> {
        self.history.borrow_mut()
    }

    pub fn fault(&self, fault: Fault, text: String) {
        self.history().fault(fault, None, text);
    }

    /// A new round begins.
    pub fn begin(&self) {
        self.progress.send_replace(Progress::default());
    }

    pub fn end(&self, over: Over) {
        self.progress.send_modify(|progress| progress.over = Some(over));
    }

    pub fn add_acknowledged(&self) {
        self.progress.send_modify(|progress| progress.acknowledged += 1);
    }

    pub fn add_arrived(&self) {
        self.progress.send_modify(|progress| progress.arrived += 1);
    }

    pub fn add_finished(&self) {
        self.progress.send_modify(|progress| progress.finished += 1);
    }

    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits until the round has come so far.
    pub async fn until(&self, reached: impl Fn(&Progress) -> bool) {
        // The sender is this value.
        _ = self.progress.subscribe().wait_for(|progress| reached(progress)).await;
    }

    /// Waits until so many messages were acknowledged in this round. False when it ended before.
    pub async fn until_acknowledged(&self, count: u32) -> bool {
        self.until(|progress| progress.acknowledged >= count || progress.over.is_some()).await;
        self.progress().over.is_none()
    }

    pub fn is_over(&self) -> bool {
        self.progress().over.is_some()
    }

    /// Before a connection is tried again that a living server did not take.
    pub async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
