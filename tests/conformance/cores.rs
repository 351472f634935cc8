//! That a gateway has several cores is nothing that a client can tell.

use thingway::bus::Counter;

use crate::common::{Connect, TestGateway, Version};

/// Pairs whose subscriber, when it begins on another core than its publisher, goes to it in mid-conversation.
const PAIRS: usize = 24;
const MESSAGES: u32 = 60;

#[tokio::test]
async fn a_connection_that_goes_to_another_core_misses_nothing() {
    let gateway = TestGateway::with(|config| config.gateway.cores = 2).await;
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let publisher = gateway.client(Version::V5, &format!("publisher-{pair}")).await;
        let connect = Connect::new(Version::V5, &format!("subscriber-{pair}")).keep_alive(1);
        let (mut subscriber, _) = gateway.connect(&connect).await;
        subscriber.subscribe(&format!("pair/{pair}"), 2).await;
        pairs.push((publisher, subscriber));
    }
    for number in 0..MESSAGES {
        for (pair, (publisher, subscriber)) in pairs.iter_mut().enumerate() {
            publisher.publish(&format!("pair/{pair}"), &number.to_string(), (number % 3) as u8).await;
            let message = subscriber.expect_publish().await;
            assert_eq!(message.text(), number.to_string());
            subscriber.acknowledge(&message).await;
        }
    }
    let moved = gateway.gateway().bus().counters().total(Counter::ConnectionsMoved);
    // That all pairs began on one core happens once in sixteen million times.
    assert!(moved > 0 && moved <= PAIRS as u64, "{moved} moved");
    let cores = gateway.gateway().cores();
    assert_eq!(cores.connections(), 2 * PAIRS);
    for (_, subscriber) in &mut pairs {
        subscriber.ping().await;
    }
    // Timers went with them: the silent ones are disconnected, and nobody else.
    for (publisher, subscriber) in &mut pairs {
        subscriber.expect_disconnected(&[0x8d]).await;
        publisher.ping().await;
    }
}
