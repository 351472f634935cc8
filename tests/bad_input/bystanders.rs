//! Two clients that mind their own business meanwhile.

use tokio::{sync::oneshot, task::JoinHandle};

use crate::common::{Client, TestGateway, Version};

/// A publisher and a subscriber that exchange messages for as long as this value lives.
pub struct Bystanders {
    enough: oneshot::Sender<()>,
    exchange: JoinHandle<u32>,
}

impl Bystanders {
    /// Connects the two and lets them begin.
    pub async fn start(gateway: &TestGateway) -> Self {
        let mut publisher = gateway.client(Version::V5, "bystander-publisher").await;
        let mut subscriber = gateway.client(Version::V311, "bystander-subscriber").await;
        assert_eq!(subscriber.subscribe("bystanders/+", 2).await, 2);
        let (enough, mut is_enough) = oneshot::channel();
        let exchange = tokio::spawn(async move {
            let mut count = 0;
            // Once at least: the test may be over before this task is run for the first time.
            loop {
                exchange(&mut publisher, &mut subscriber, count).await;
                count += 1;
                if is_enough.try_recv().is_ok() {
                    break;
                }
            }
            publisher.disconnect().await;
            subscriber.disconnect().await;
            count
        });
        Self { enough, exchange }
    }

    /// Lets them finish and insists that every message came, once, in order and unchanged.
    pub async fn finish(self) {
        // They have stopped of themselves only if something went wrong, which the next line tells.
        let _ = self.enough.send(());
        let count = self.exchange.await.expect("the bystanders were not disturbed");
        assert!(count > 0, "the bystanders have said nothing");
    }
}

async fn exchange(publisher: &mut Client, subscriber: &mut Client, number: u32) {
    let qos = (number % 3) as u8;
    let (topic, text) = (format!("bystanders/{}", number % 7), format!("message {number}"));
    publisher.publish(&topic, &text, qos).await;
    let message = subscriber.expect_message().await;
    assert_eq!((message.topic, message.qos, message.payload), (topic, qos, text.into_bytes()));
    subscriber.ping().await;
}
