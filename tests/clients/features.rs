//! What clients rely on beyond plain delivery, with at least two libraries each.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, Client, Options, PATIENCE, publication, subscription},
    process::{Running, lines, mqtt_js, paho},
    rumqtt::rumqttc,
    server::{Server, is_stand_in},
    tools,
    wire::{
        Properties, Publish, Received, Subscribe,
        Transport::{self, Quic, Tcp, Tls, Unix, Ws, Wss},
        Will,
    },
};

/// The libraries that speak every version 3.1.1 and 5 feature.
fn libraries(test: &str) -> Option<[Agent; 3]> {
    Some([mqtt_js(test)?, paho(test)?, rumqttc()])
}

fn payloads(received: &[Received]) -> Vec<String> {
    received.iter().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// All that the clients received before a message that is published now.
fn received_until_now(publisher: &Client, subscribers: &[&Client]) -> Vec<Vec<Received>> {
    subscribers.iter().for_each(|client| assert_eq!(client.subscribe("fence", 2), 2));
    publisher.publish(publication("fence", "", 2));
    subscribers.iter().map(|client| client.received_before("fence")).collect()
}

#[test]
fn retained_messages_are_kept_replaced_and_cleared() {
    let Some(libraries) = libraries("retained_messages_are_kept_replaced_and_cleared") else { return };
    let server = Server::start();
    let retained = |topic: &str, payload: &str| Publish { retain: true, ..publication(topic, payload, 1) };
    for (index, library) in libraries.iter().enumerate() {
        let topic = format!("retained/{}", library.name());
        let reader = &libraries[(index + 1) % libraries.len()];
        for version in [4, 5] {
            let publisher = library.connect(server.endpoint(Tcp), Options::new(version, "publisher"));
            let connect = |id: &str| reader.connect(server.endpoint(Ws), Options::new(version, id));

            let live = connect("live");
            assert_eq!(live.subscribe(&topic, 1), 1);
            publisher.publish(retained(&topic, "first"));
            publisher.publish(retained(&topic, "second"));
            for payload in [b"first".as_slice(), b"second"] {
                let message = live.next();
                assert_eq!((message.payload.as_slice(), message.retain), (payload, false), "{}", live.name());
            }

            let late = connect("late");
            assert_eq!(late.subscribe(&topic, 1), 1);
            let message = late.next();
            assert_eq!((message.payload.as_slice(), message.retain), (b"second".as_slice(), true), "{}", late.name());

            publisher.publish(retained(&topic, ""));
            let later = connect("later");
            assert_eq!(later.subscribe(&topic, 1), 1);
            assert_eq!(received_until_now(&publisher, &[&later]), [[]], "{}", later.name());
            [publisher, live, late, later].iter().for_each(Client::disconnect);
        }
    }
    server.stop();
}

#[test]
fn retain_handling_and_retain_as_published() {
    let Some(libraries) = libraries("retain_handling_and_retain_as_published") else { return };
    let server = Server::start();
    for library in &libraries {
        let topic = format!("kept/{}", library.name());
        let publisher = library.connect(server.endpoint(Tcp), Options::new(5, "publisher"));
        let subscriber = library.connect(server.endpoint(Tls), Options::new(5, "subscriber"));
        publisher.publish(Publish { retain: true, ..publication(&topic, "kept", 1) });
        let subscribe = |retain_handling, retain_as_published| {
            let code = subscriber.subscribe_with(Subscribe {
                retain_handling,
                retain_as_published,
                ..subscription(&topic, 1)
            });
            assert_eq!(code, 1);
            payloads(&received_until_now(&publisher, &[&subscriber])[0])
        };
        assert_eq!(subscribe(2, false), [""; 0], "{}: never", subscriber.name());
        assert_eq!(subscribe(1, false), [""; 0], "{}: the subscription is not new", subscriber.name());
        assert_eq!(subscribe(0, true), ["kept"], "{}: every time", subscriber.name());
        publisher.publish(Publish { retain: true, ..publication(&topic, "again", 1) });
        assert!(subscriber.next().retain, "{}: retain as published", subscriber.name());
        [publisher, subscriber].iter().for_each(Client::disconnect);
    }
    server.stop();
}

#[test]
fn wills_are_published_for_clients_that_vanish_and_for_no_others() {
    let test = "wills_are_published_for_clients_that_vanish_and_for_no_others";
    let Some([js, paho, rumqttc]) = libraries(test) else { return };
    let server = Server::start();
    let watcher = paho.connect(server.endpoint(Tcp), Options::new(5, "watcher"));
    assert_eq!(watcher.subscribe("will/#", 2), 2);
    let will = |topic: String| Will { topic, payload: b"gone".to_vec(), qos: 1, retain: false };

    for (library, transport) in
        [(&js, Tcp), (&js, Tls), (&js, Ws), (&js, Wss), (&js, Unix), (&js, Quic), (&rumqttc, Tcp)]
    {
        for version in [4, 5] {
            let topic = format!("will/{}/{transport:?}/{version}", library.name());
            let with_will = |id: &str| Options {
                will: Some(will(topic.clone())),
                ..Options::new(version, format!("{id}-{transport:?}"))
            };
            let polite = library.connect(server.endpoint(transport), with_will("polite"));
            polite.disconnect();
            let vanishing = library.connect(server.endpoint(transport), with_will("vanishing"));
            vanishing.kill();
            let message = watcher.next();
            assert_eq!((message.topic, message.qos), (topic, 1), "{}", vanishing.name());
            assert_eq!(message.payload, b"gone");
        }
    }
    // One for each that vanished, none for the polite.
    assert_eq!(received_until_now(&watcher, &[&watcher]), [[]]);
    server.stop();
}

#[test]
fn a_killed_process_leaves_its_will() {
    let test = "a_killed_process_leaves_its_will";
    let Some(mosquitto_sub) = tools::need(test, "mosquitto_sub", tools::program("mosquitto_sub")) else { return };
    let server = Server::start();
    let watcher = rumqttc().connect(server.endpoint(Tcp), Options::new(4, "watcher"));
    assert_eq!(watcher.subscribe("will", 1), 1);
    let mut program = Command::new("stdbuf");
    program.arg("-oL").arg(mosquitto_sub).args(["-h", "127.0.0.1", "-d", "-t", "x", "-q", "1"]);
    program.args(["-p", &server.endpoint(Tcp).port.to_string(), "--will-topic", "will", "--will-payload", "killed"]);
    let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
    let output = lines(child.stdout.take().unwrap());
    let victim = Running(child);
    while !output.recv_timeout(PATIENCE).expect("mosquitto_sub subscribes").starts_with("Subscribed") {}
    victim.signal("KILL");
    assert_eq!(watcher.next().payload, b"killed");
    server.stop();
}

#[test]
fn a_persistent_session_keeps_what_came_while_its_client_was_away() {
    let test = "a_persistent_session_keeps_what_came_while_its_client_was_away";
    let Some(libraries) = libraries(test) else { return };
    let server = Server::start();
    let publisher = libraries[0].connect(server.endpoint(Tcp), Options::new(5, "publisher"));
    for library in &libraries {
        for version in [4, 5] {
            let id = format!("away-{}-{version}", library.name());
            let topic = format!("away/{id}");
            let connect = |transport: Transport| {
                library.connect(server.endpoint(transport), Options::persistent(version, id.clone()))
            };
            let first = connect(Tcp);
            assert!(!first.outcome.session_present, "{}", first.name());
            assert_eq!(first.subscribe(&topic, 2), 2);
            first.disconnect();
            first.closed();

            for (number, payload) in numbers(100).into_iter().enumerate() {
                publisher.publish(publication(&topic, payload, 1 + (number % 2) as u8));
            }
            // The address is another, the session the same.
            let second = connect(Tls);
            assert!(second.outcome.session_present, "{}", second.name());
            // Libraries hand a message of QoS 2 over only when its handshake is complete, so each quality has an order of its own.
            let (once, at_least_once): (Vec<_>, Vec<_>) = second.receive(100).into_iter().partition(|m| m.qos == 2);
            let every_second = |first| numbers(100).into_iter().skip(first).step_by(2).collect::<Vec<_>>();
            assert_eq!(payloads(&at_least_once), every_second(0), "{}", second.name());
            assert_eq!(payloads(&once), every_second(1), "{}", second.name());
            second.disconnect();
            second.closed();

            let clean = library.connect(server.endpoint(Tcp), Options::new(version, id.clone()));
            assert!(!clean.outcome.session_present, "{}", clean.name());
            clean.disconnect();
            clean.closed();
        }
    }
    server.stop();
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    let test = "a_shared_subscription_gives_each_message_to_one_member";
    let Some(libraries) = libraries(test) else { return };
    let server = Server::start();
    let publisher = libraries[0].connect(server.endpoint(Tcp), Options::new(5, "publisher"));
    let members: Vec<_> = libraries
        .iter()
        .zip([4, 5, 5])
        .map(|(library, version)| library.connect(server.endpoint(Tcp), Options::new(version, library.name())))
        .collect();
    let outsider = libraries[1].connect(server.endpoint(Ws), Options::new(5, "outsider"));
    members.iter().for_each(|member| assert_eq!(member.subscribe("$share/group/jobs/+", 1), 1));
    assert_eq!(outsider.subscribe("jobs/+", 1), 1);
    let publishing: Vec<_> =
        numbers(300).into_iter().map(|number| publisher.start_publish(publication("jobs/a", number, 1))).collect();
    publishing.into_iter().for_each(|pending| _ = pending.succeed());

    let members: Vec<_> = members.iter().chain([&outsider]).collect();
    let mut received = received_until_now(&publisher, &members);
    assert_eq!(payloads(&received.pop().unwrap()), numbers(300), "who does not share gets all");
    let each: Vec<_> = received.iter().map(Vec::len).collect();
    assert_eq!(each.iter().sum::<usize>(), 300, "each once: {each:?}");
    let all: BTreeSet<_> = received.iter().flat_map(|received| payloads(received)).collect();
    assert_eq!(all, numbers(300).into_iter().collect(), "all of them: {each:?}");
    assert!(each.iter().all(|&count| count > 0), "every member works: {each:?}");
    server.stop();
}

#[test]
fn requests_find_their_responder_and_properties_arrive_unchanged() {
    let test = "requests_find_their_responder_and_properties_arrive_unchanged";
    let Some(libraries) = libraries(test) else { return };
    let server = Server::start();
    for requester in &libraries {
        for responder in &libraries {
            let responder = responder.connect(server.endpoint(Ws), Options::new(5, "responder"));
            let code = responder
                .subscribe_with(Subscribe { subscription_id: Some(268_435_455), ..subscription("requests/+", 2) });
            assert_eq!(code, 2);
            let requester = requester.connect(server.endpoint(Tcp), Options::new(5, "requester"));
            assert_eq!(requester.subscribe("responses/requester", 2), 2);

            let properties = Properties {
                user: [("a", "1"), ("a", "2"), ("ключ", "значение"), ("empty", "")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                correlation_data: Some(vec![0, 1, 0xfe, 0xff]),
                content_type: Some("application/json".into()),
                response_topic: Some("responses/requester".into()),
                utf8: Some(true),
                ..Properties::default()
            };
            let request = Publish { properties: properties.clone(), ..publication("requests/1", "{}", 2) };
            requester.publish(request);
            let request = responder.next();
            let expected = Properties { subscription_ids: vec![268_435_455], ..properties };
            assert_eq!(request.properties, expected, "{} to {}", requester.name(), responder.name());

            let answer = Properties { correlation_data: request.properties.correlation_data, ..Properties::default() };
            let topic = request.properties.response_topic.unwrap();
            responder.publish(Publish { properties: answer.clone(), ..publication(topic, "done", 1) });
            let response = requester.next();
            assert_eq!(response.payload, b"done");
            assert_eq!(response.properties, answer, "{} to {}", responder.name(), requester.name());
            [requester, responder].iter().for_each(Client::disconnect);
        }
    }
    server.stop();
}

#[test]
fn topic_aliases_stand_for_topics_both_ways() {
    let test = "topic_aliases_stand_for_topics_both_ways";
    let Some([js, paho, rumqttc]) = libraries(test) else { return };
    let server = Server::start();
    let aliased = |topic: &str, payload: &str, alias| Publish {
        properties: Properties { topic_alias: Some(alias), ..Properties::default() },
        ..publication(topic, payload, 1)
    };

    // From client to gateway.
    let reader = paho.connect(server.endpoint(Tcp), Options::new(5, "reader"));
    assert_eq!(reader.subscribe("alias/#", 1), 1);
    for library in [&js, &paho] {
        let publisher = library.connect(server.endpoint(Tcp), Options::new(5, "publisher"));
        publisher.publish(aliased("alias/one", "sets", 1));
        publisher.publish(aliased("alias/two", "sets another", 2));
        publisher.publish(aliased("", "uses", 1));
        publisher.publish(aliased("alias/three", "sets anew", 1));
        publisher.publish(aliased("", "uses again", 1));
        publisher.publish(aliased("", "uses the other", 2));
        let topics: Vec<_> = reader.receive(6).into_iter().map(|message| message.topic).collect();
        let expected = ["alias/one", "alias/two", "alias/one", "alias/three", "alias/three", "alias/two"];
        assert_eq!(topics, expected, "{}", publisher.name());
        publisher.disconnect();
    }
    // The library chooses aliases by itself.
    let options = Options { auto_topic_alias: true, ..Options::new(5, "automatic") };
    let automatic = js.connect(server.endpoint(Tcp), options);
    assert!(automatic.outcome.topic_alias_maximum > 0);
    for topic in ["alias/one", "alias/two", "alias/one", "alias/two"] {
        automatic.publish(publication(topic, "", 1));
        assert_eq!(reader.next().topic, topic);
    }

    // From gateway to client: more topics than aliases.
    for library in [&js, &rumqttc] {
        let options = Options { topic_alias_maximum: Some(2), ..Options::new(5, "allows-two") };
        let subscriber = library.connect(server.endpoint(Tcp), options);
        assert_eq!(subscriber.subscribe("alias/#", 1), 1);
        let topics = ["alias/1", "alias/2", "alias/3", "alias/1", "alias/2", "alias/3", "alias/1"];
        topics.iter().for_each(|topic| reader.publish(publication(*topic, "", 1)));
        let received = subscriber.receive(topics.len());
        assert_eq!(resolved(&received), topics, "{}", subscriber.name());
        let aliases: Vec<_> = received.iter().filter_map(|message| message.properties.topic_alias).collect();
        assert!(aliases.iter().all(|alias| (1..=2).contains(alias)), "{}: {aliases:?}", subscriber.name());
        assert!(is_stand_in() || !aliases.is_empty(), "{}: the gateway uses what it may", subscriber.name());
        subscriber.disconnect();
    }
    server.stop();
}

/// The topics. rumqttc shows a message as it came, with an empty topic for an alias that was set before.
fn resolved<'a>(received: &'a [Received]) -> Vec<&'a str> {
    let mut aliases = BTreeMap::<u16, &'a str>::new();
    let resolve = |message: &'a Received| match message.properties.topic_alias {
        Some(alias) if message.topic.is_empty() => aliases[&alias],
        Some(alias) => {
            aliases.insert(alias, message.topic.as_str());
            message.topic.as_str()
        }
        None => message.topic.as_str(),
    };
    received.iter().map(resolve).collect()
}

#[test]
fn messages_expire_while_they_wait() {
    let Some(libraries) = libraries("messages_expire_while_they_wait") else { return };
    let server = Server::start();
    let publisher = libraries[0].connect(server.endpoint(Tcp), Options::new(5, "publisher"));
    let connect = |library: &Agent| library.connect(server.endpoint(Tcp), Options::persistent(5, library.name()));
    for library in &libraries {
        let client = connect(library);
        assert_eq!(client.subscribe("expiry/#", 1), 1);
        client.disconnect();
        client.closed();
    }
    let expiring = |topic: &str, expiry| Publish {
        properties: Properties { expiry, ..Properties::default() },
        ..publication(topic, "", 1)
    };
    publisher.publish(expiring("expiry/short", Some(1)));
    publisher.publish(expiring("expiry/long", Some(1000)));
    publisher.publish(expiring("expiry/never", None));
    // Time itself is what the test is about.
    thread::sleep(Duration::from_millis(2_100));
    for library in &libraries {
        let client = connect(library);
        let received = &received_until_now(&publisher, &[&client])[0];
        let topics: Vec<_> = received.iter().map(|message| message.topic.as_str()).collect();
        assert_eq!(topics, ["expiry/long", "expiry/never"], "{}", client.name());
        let left = received[0].properties.expiry.expect("an interval");
        assert!((900..=998).contains(&left), "{}: {left} s of 1000 s left after 2 s", client.name());
        assert_eq!(received[1].properties.expiry, None, "{}", client.name());
    }
    server.stop();
}

#[test]
fn no_local_spares_clients_their_own_messages() {
    let Some(libraries) = libraries("no_local_spares_clients_their_own_messages") else { return };
    let server = Server::start();
    for library in &libraries {
        let client = library.connect(server.endpoint(Tcp), Options::new(5, "client"));
        let other = library.connect(server.endpoint(Tcp), Options::new(5, "other"));
        assert_eq!(client.subscribe_with(Subscribe { no_local: true, ..subscription("local", 1) }), 1);
        client.publish(publication("local", "own", 1));
        other.publish(publication("local", "other", 1));
        assert_eq!(payloads(&received_until_now(&other, &[&client])[0]), ["other"], "{}", client.name());
        [client, other].iter().for_each(Client::disconnect);
    }
    server.stop();
}

#[test]
fn who_unsubscribed_gets_no_more() {
    let Some(libraries) = libraries("who_unsubscribed_gets_no_more") else { return };
    let server = Server::start();
    for library in &libraries {
        for version in [4, 5] {
            let client = library.connect(server.endpoint(Tcp), Options::new(version, "client"));
            let filters = ["topic/#", "topic/+", "topic/a"];
            filters.iter().for_each(|filter| assert_eq!(client.subscribe(filter, 1), 1));
            filters.iter().for_each(|filter| client.unsubscribe(filter));
            client.publish(publication("topic/a", "", 1));
            assert_eq!(received_until_now(&client, &[&client]), [[]], "{}", client.name());
            client.disconnect();
        }
    }
    server.stop();
}

#[test]
fn the_old_client_is_told_that_another_took_its_session_over() {
    let test = "the_old_client_is_told_that_another_took_its_session_over";
    let Some(libraries) = libraries(test) else { return };
    let server = Server::start();
    for library in &libraries {
        for (old_version, transport) in [(5, Tcp), (5, Tls), (5, Unix), (5, Quic), (5, Ws), (5, Wss), (4, Tcp)] {
            let old = library.connect(server.endpoint(transport), Options::new(old_version, "twice"));
            let new = libraries[0].connect(server.endpoint(Tcp), Options::new(5, "twice"));
            // Only version 5 has a DISCONNECT from the gateway.
            assert_eq!(old.closed(), (old_version == 5).then_some(0x8e), "{}", old.name());
            assert_eq!(new.subscribe("still/here", 1), 1);
            new.disconnect();
        }
    }
    server.stop();
}

#[test]
fn clients_without_an_identifier_are_given_one() {
    let Some([js, paho, _]) = libraries("clients_without_an_identifier_are_given_one") else { return };
    let server = Server::start();
    let mut assigned = BTreeSet::new();
    for library in [&js, &paho] {
        for _ in 0..3 {
            let client = library.connect(server.endpoint(Tcp), Options::new(5, ""));
            let id = client.outcome.assigned_client_id.clone().expect("an assigned client identifier");
            assert!(assigned.insert(id), "assigned to one alone");
            assert_eq!(client.subscribe("x", 0), 0);
        }
        let client = library.connect(server.endpoint(Tcp), Options::new(4, ""));
        assert_eq!(client.subscribe("x", 0), 0);
    }
    server.stop();
}

/// Simple clients write all they have before they read. That must not leave gateway and client waiting for each other, although what comes
/// back fills the socket meanwhile.
#[test]
fn a_client_that_writes_before_it_reads_is_served() {
    const COUNT: usize = 16;
    const PAYLOAD: usize = 256 << 10;
    let server = Server::start();
    let mut socket = UnixStream::connect(&server.endpoint(Unix).path).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me").unwrap();
    socket.write_all(b"\x82\x06\x00\x01\x00\x01t\x01").unwrap();
    let mut answers = [0; 9];
    socket.read_exact(&mut answers).unwrap();
    assert_eq!(&answers, b"\x20\x02\x00\x00\x90\x03\x00\x01\x01");

    // Fixed header, topic and packet identifier: 256 KiB and 5 bytes follow.
    let publish = |id: u8| [b"\x32\x85\x80\x10\x00\x01t\x00".as_slice(), &[id], &vec![id; PAYLOAD]].concat();
    for id in 1..=COUNT as u8 {
        socket.write_all(&publish(id)).unwrap();
    }
    let mut input = BufReader::new(socket);
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    while acknowledged.len() < COUNT || delivered.len() < COUNT {
        let mut kind = [0];
        input.read_exact(&mut kind).unwrap();
        if kind[0] == 0x40 {
            let mut rest = [0; 3];
            input.read_exact(&mut rest).unwrap();
            acknowledged.push(rest[2]);
        } else {
            let mut rest = vec![0; publish(0).len() - 1];
            input.read_exact(&mut rest).unwrap();
            assert_eq!((kind[0], &rest[..3]), (0x32, b"\x85\x80\x10".as_slice()));
            delivered.push(rest[rest.len() - 1]);
        }
    }
    let all: Vec<_> = (1..=COUNT as u8).collect();
    assert_eq!((acknowledged, delivered), (all.clone(), all));
    server.stop();
}

/// Ten thousand as fast as they can be sent, with a window of the library's own choosing.
#[test]
fn a_burst_arrives_complete_and_in_order() {
    const COUNT: usize = 10_000;
    let Some([js, paho, rumqttc]) = libraries("a_burst_arrives_complete_and_in_order") else { return };
    let server = Server::start();
    for (publisher, subscriber, transport) in
        [(&js, &paho, Tcp), (&paho, &rumqttc, Tls), (&rumqttc, &js, Wss), (&rumqttc, &rumqttc, Quic)]
    {
        let subscriber = subscriber.connect(server.endpoint(transport), Options::new(5, "subscriber"));
        assert_eq!(subscriber.subscribe("burst", 1), 1);
        let publisher = publisher.connect(server.endpoint(transport), Options::new(5, "publisher"));
        let before = Instant::now();
        let publishing: Vec<_> =
            numbers(COUNT).into_iter().map(|number| publisher.start_publish(publication("burst", number, 1))).collect();
        publishing.into_iter().for_each(|pending| _ = pending.succeed());
        let received = payloads(&subscriber.receive(COUNT));
        println!("{} to {}: {:?}", publisher.name(), subscriber.name(), before.elapsed());
        assert_eq!(received.len(), COUNT, "{} to {}", publisher.name(), subscriber.name());
        let wrong = received.iter().zip(numbers(COUNT)).position(|(received, expected)| *received != expected);
        assert_eq!(wrong, None, "{} to {}: first out of order", publisher.name(), subscriber.name());
        [publisher, subscriber].iter().for_each(Client::disconnect);
    }
    server.stop();
}

#[test]
fn clients_are_told_that_the_gateway_stops() {
    let Some(libraries) = libraries("clients_are_told_that_the_gateway_stops") else { return };
    let server = Server::start();
    let mut clients = Vec::new();
    for library in &libraries {
        for transport in Transport::ALL {
            for version in [4, 5] {
                let id = format!("{}-{transport:?}-{version}", library.name());
                clients.push(library.connect(server.endpoint(transport), Options::new(version, id)));
            }
        }
    }
    server.terminate();
    let told: Vec<_> = clients.iter().map(|client| (client.name(), client.closed())).collect();
    let expected = clients.iter().map(|client| (client.name(), (client.version == 5).then_some(0x8b)));
    assert_eq!(told, expected.collect::<Vec<_>>());
    server.stop();
}
