//! Settings do what `config/thingway.toml` says of them: a gateway in this process, seen by its clients.

mod common;

use common::{Connect, Property, TestGateway, Version, wire};
use thingway::{
    bus::Counter,
    config::{ByteRate, ClientRate, Config, OrInfinity, Period, Rate, Size},
};

fn limit(config: &mut Config, rate: ClientRate) {
    config.listeners.tcp.get_mut("default").expect("the listener").client_rate = rate;
}

fn limited(gateway: &TestGateway) -> u64 {
    gateway.gateway().bus().counters().total(Counter::RateLimited)
}

fn messages(rate: &str) -> ClientRate {
    ClientRate { messages: OrInfinity::Finite(rate.parse::<Rate>().expect("a rate")), ..ClientRate::default() }
}

#[tokio::test]
async fn too_many_messages_are_slowed_down_and_none_is_lost() {
    let gateway = TestGateway::with(|config| limit(config, messages("50/s"))).await;
    let mut subscriber = gateway.client(Version::V5, "subscriber").await;
    subscriber.subscribe("burst", 0).await;
    let mut client = gateway.client(Version::V5, "client").await;
    let burst: Vec<u8> =
        (1..=150).flat_map(|id| wire::publish(Version::V5, "burst", &[id as u8], 1, id, &[])).collect();
    client.send(&burst).await;
    for id in 1..=150 {
        assert!(client.puback(id).await.code < 0x80);
        assert_eq!(subscriber.expect_message().await.payload, [id as u8]);
    }
    assert!(limited(&gateway) > 0);
}

#[tokio::test]
async fn too_many_bytes_are_slowed_down_and_none_is_lost() {
    let gateway = TestGateway::with(|config| {
        let bytes = OrInfinity::Finite(ByteRate::per_second(Size::kib(100)));
        limit(config, ClientRate { bytes, ..ClientRate::default() });
    })
    .await;
    let mut client = gateway.client(Version::V311, "client").await;
    // More than one read takes, so that the way for large packets is gone, too.
    let payload = "x".repeat(200 * 1024);
    for _ in 0..2 {
        client.publish("large", &payload, 1).await;
    }
    assert!(limited(&gateway) > 0);
}

#[tokio::test]
async fn a_client_within_its_rate_is_not_slowed_down() {
    let gateway = TestGateway::with(|config| limit(config, messages("1000/s"))).await;
    let mut client = gateway.client(Version::V5, "client").await;
    for number in 0..100 {
        client.publish("calm", &number.to_string(), 1).await;
    }
    assert_eq!(limited(&gateway), 0);
}

#[tokio::test]
async fn who_is_slowed_down_is_not_taken_for_silent() {
    let gateway = TestGateway::with(|config| limit(config, messages("1/3s"))).await;
    let (mut client, _) = gateway.connect(&Connect::new(Version::V311, "client").keep_alive(1)).await;
    // The second is one too many: for three seconds nothing is read, twice as long as a silent client would have.
    client.publish("slow", "one", 1).await;
    client.publish("slow", "two", 1).await;
    client.ping().await;
    assert_eq!(limited(&gateway), 1);
}

#[tokio::test]
async fn retained_messages_get_the_expiry_that_their_publisher_did_not_give() {
    let gateway =
        TestGateway::with(|config| config.retained.expiry = OrInfinity::Finite(Period::from_secs(3600))).await;
    let mut live = gateway.client(Version::V5, "live").await;
    live.subscribe("#", 1).await;
    let mut publisher = gateway.client(Version::V5, "publisher").await;
    publisher.retain("without", "x", 1).await;
    publisher.publish_with("with", "x", 1, true, &[Property::MessageExpiry(9000)]).await;
    let expiry = |properties: &[Property]| {
        properties.iter().find_map(|property| match property {
            Property::MessageExpiry(secs) => Some(*secs),
            _ => None,
        })
    };
    assert_eq!(expiry(&live.expect_message().await.properties), None, "subscribers of now get what was published");
    let mut late = gateway.client(Version::V5, "late").await;
    late.subscribe("without", 1).await;
    let kept = expiry(&late.expect_message().await.properties).expect("an expiry");
    assert!((1..=3600).contains(&kept), "{kept}");
    late.subscribe("with", 1).await;
    let kept = expiry(&late.expect_message().await.properties).expect("an expiry");
    assert!((3601..=9000).contains(&kept), "{kept}");
}

#[tokio::test]
async fn topics_may_be_as_deep_as_configured() {
    let topic = vec!["x"; 300].join("/");
    let gateway = TestGateway::with(|config| config.mqtt.topic_levels_max = 300).await;
    let mut client = gateway.client(Version::V5, "client").await;
    client.subscribe(&topic, 1).await;
    client.publish(&topic, "deep", 1).await;
    assert_eq!(client.expect_message().await.text(), "deep");
}

#[tokio::test]
async fn clients_are_told_when_nothing_is_retained() {
    let gateway = TestGateway::with(|config| config.retained.enable = false).await;
    let (_, connack) = gateway.connect(&Connect::new(Version::V5, "client")).await;
    assert!(connack.properties.contains(&Property::RetainAvailable(0)), "{connack:?}");
}
