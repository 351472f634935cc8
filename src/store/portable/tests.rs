use std::io::Cursor;

use thingway_contract::{
    ClientId, Instant, Message, MessageHead, Observation, Properties, PropertiesBuilder, Property, PublisherKey, Qos,
    Resumption, RetainHandling, ShareName, SubscriptionOptions, Topic, TopicFilter, TopicId, TopicLimits, Will,
};
use thingway_store::{Drawn, Epoch, Extras, FlushLimits, Memory, QueuedItem, SessionItem, Settings};

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, TopicLimits::default()).expect("valid")
}

fn message(topic: &str, payload: &[u8], properties: Properties<'_>) -> Message {
    let head = MessageHead {
        qos: Qos::ExactlyOnce,
        retain: topic.starts_with("retained"),
        publisher: if topic == "own" { PublisherKey::default() } else { PublisherKey(7) },
        received_at: Instant::from_millis(NOW),
        expires_at: if payload.is_empty() { Instant::from_millis(NOW + 5) } else { Instant::NEVER },
    };
    Message::new(head, Topic::parse(topic, TopicLimits::default()).expect("valid"), properties, payload)
}

fn plain(topic: &str, payload: &[u8]) -> Message {
    message(topic, payload, Properties::default())
}

fn session(number: u64, client_id: &str) -> SessionItem {
    SessionItem {
        number,
        client_id: ClientId::new(client_id, 100).expect("valid"),
        expiry_secs: u32::MAX,
        detached_at: NOW,
        next_packet_id: 1,
        inbound: Vec::new(),
        will: None,
        will_rests: false,
        extras: Extras::default(),
    }
}

/// One with everything that a session can have.
fn full_session() -> SessionItem {
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        id: 268_435_455,
    };
    let observation = Observation {
        token: [0, 255].into(),
        filter: filter("ps/+"),
        options,
        key: u64::MAX,
        sequence: 9,
        accept: Some(60),
        block_exponent: 6,
        check_secs: 10,
        ends_when_empty: true,
        ends_at: Instant::from_millis(NOW + 9),
    };
    let forever = Observation { accept: None, ends_at: Instant::NEVER, ..observation.clone() };
    let extras = Extras {
        topic_ids: vec![TopicId { id: 3, name: "a\"b".into(), known: true }],
        observations: vec![observation, forever],
        sleep_secs: 60,
        resumption: Some(Resumption { key: 5, until: Instant::from_millis(NOW + 7) }),
    };
    SessionItem {
        expiry_secs: 3600,
        next_packet_id: 9,
        inbound: vec![7, 65_535],
        will: Some(Box::new(Will { message: plain("will", b"gone"), delay_secs: 5, expiry_secs: Some(0) })),
        will_rests: true,
        extras,
        ..session(1, "zähler\t1")
    }
}

fn everything() -> Vec<Item> {
    let mut properties = PropertiesBuilder::new();
    properties
        .push(Property::UserProperty("a", "1"))
        .push(Property::ContentType("text/plain"))
        .push(Property::UserProperty("a", "2"))
        .push(Property::ResponseTopic("r"))
        .push(Property::CorrelationData(&[0, 200]))
        .push(Property::PayloadFormatIndicator(true));
    let queued = QueuedItem {
        queue: 1,
        message: Some(5),
        packet_id: 6,
        qos: Qos::ExactlyOnce,
        retain: true,
        subscription_ids: vec![3, 4],
        drawn: None,
    };
    let drawn = Some(Drawn { group: 3, qos: Qos::ExactlyOnce, retain: true });
    let options = SubscriptionOptions { qos: Qos::ExactlyOnce, ..SubscriptionOptions::default() };
    let quiet = SubscriptionOptions { retain_handling: RetainHandling::DoNotSend, id: 4, ..options };
    let name = ShareName { group: "g".into(), filter: "s/#".into() };
    vec![
        Item::Session(Box::new(full_session())),
        Item::Session(Box::new(session(2, "second"))),
        Item::Group { number: 3, name, turn: 4 },
        Item::Subscription { session: 1, filter: filter("$share/g/s/#"), options },
        Item::Subscription { session: 1, filter: filter("a/+/#"), options: quiet },
        Item::Queued(queued.clone()),
        Item::Queued(QueuedItem {
            packet_id: 7,
            message: None,
            retain: false,
            subscription_ids: vec![],
            drawn,
            ..queued.clone()
        }),
        Item::Queued(QueuedItem { packet_id: 8, subscription_ids: vec![], drawn, ..queued.clone() }),
        Item::Queued(QueuedItem { packet_id: 0, message: Some(6), qos: Qos::AtMostOnce, ..queued.clone() }),
        Item::Queued(QueuedItem { queue: 3, packet_id: 0, subscription_ids: vec![], message: Some(7), ..queued }),
        Item::Message { number: 5, message: message("a/b", b"text\r\n\t \xc3\xa4", properties.as_properties()) },
        Item::Message { number: 6, message: plain("own", &[0, 159, 146, 150]) },
        Item::Message { number: 7, message: plain("a", b"\x07") },
        Item::Retained(plain("retained/a", b"{}")),
        Item::Retained(plain("retained/b", b"\xff")),
        Item::Delayed { id: 11, due: NOW + 60_000, message: plain("later", b"") },
        Item::Setting { name: "user/bob".into(), value: "{}".into() },
    ]
}

fn keeper(items: Vec<Item>) -> Keeper<(), Memory> {
    let mut import = Import::new(Memory::new());
    for item in items {
        import.add(item).expect("taken");
    }
    let (_, memory) = import.finish().expect("all is there");
    open(memory)
}

fn open(memory: Memory) -> Keeper<(), Memory> {
    let opened = Keeper::open(memory, Settings::default(), FlushLimits::default(), 0, Epoch::default(), NOW + 1_000);
    opened.expect("opened").0
}

fn exported(keeper: &mut Keeper<(), Memory>) -> String {
    let mut text = Vec::new();
    let written = export(keeper, &mut text).expect("written");
    assert_eq!(written.bytes, text.len() as u64);
    let text = String::from_utf8(text).expect("UTF-8");
    assert_eq!(written.lines, text.lines().count() as u64);
    text
}

fn import_text(text: &str) -> Result<(Imported, Memory), LinesError> {
    import(&mut Cursor::new(text), Memory::new())
}

#[test]
fn what_is_exported_is_imported_and_exported_as_the_same_bytes() {
    let text = exported(&mut keeper(everything()));
    let (imported, memory) = import_text(&text).expect("read");
    assert_eq!(exported(&mut open(memory)), text);
    let Imported { counts, retained, settings } = imported;
    assert_eq!((counts.sessions, counts.messages, counts.delayed, retained, settings), (2, 3, 1, 2, 1));
}

/// The format is a promise: this text may only change with its version.
#[test]
fn the_lines_are_these() {
    let text = exported(&mut keeper(everything()));
    let expected = [
        r#"{"format":"thingway store","version":1}"#,
        concat!(
            r#"{"kind":"session","number":1,"client_id":"zähler\t1","expiry_secs":3600,"detached_at":1700000000000,"#,
            r#""next_packet_id":9,"inbound":[7,65535],"will":{"delay_secs":5,"expiry_secs":0,"message":{"topic":"will","#,
            r#""payload":"gone","qos":2,"received_at":1700000000000}},"will_rests":true,"topic_ids":[{"id":3,"#,
            r#""name":"a\"b","known":true}],"observations":[{"token_base64":"AP8=","filter":"ps/+","options":{"qos":1,"#,
            r#""no_local":true,"retain_as_published":true,"retain_handling":"send_if_new","id":268435455},"#,
            r#""key":18446744073709551615,"sequence":9,"accept":60,"block_exponent":6,"check_secs":10,"#,
            r#""ends_when_empty":true,"ends_at":1700000000009},{"token_base64":"AP8=","filter":"ps/+","options":{"qos":1,"#,
            r#""no_local":true,"retain_as_published":true,"retain_handling":"send_if_new","id":268435455},"#,
            r#""key":18446744073709551615,"sequence":9,"block_exponent":6,"check_secs":10,"ends_when_empty":true}],"#,
            r#""sleep_secs":60,"resumption":{"key":5,"until":1700000000007}}"#,
        ),
        r#"{"kind":"session","number":2,"client_id":"second","detached_at":1700000000000,"next_packet_id":1}"#,
        r#"{"kind":"group","number":3,"group":"g","filter":"s/#","turn":4}"#,
        r#"{"kind":"subscription","session":1,"filter":"$share/g/s/#","options":{"qos":2}}"#,
        r#"{"kind":"subscription","session":1,"filter":"a/+/#","options":{"qos":2,"retain_handling":"do_not_send","id":4}}"#,
        r#"{"kind":"queued","queue":1,"stage":"sent","packet_id":6,"message":5,"qos":2,"retain":true,"subscription_ids":[3,4]}"#,
        r#"{"kind":"queued","queue":1,"stage":"received","packet_id":7,"qos":2,"drawn":{"group":3,"qos":2,"retain":true}}"#,
        concat!(
            r#"{"kind":"queued","queue":1,"stage":"sent","packet_id":8,"message":5,"qos":2,"retain":true,"#,
            r#""drawn":{"group":3,"qos":2,"retain":true}}"#,
        ),
        r#"{"kind":"queued","queue":1,"stage":"waiting","message":6,"qos":0,"retain":true,"subscription_ids":[3,4]}"#,
        r#"{"kind":"queued","queue":3,"stage":"waiting","message":7,"qos":2,"retain":true}"#,
        concat!(
            r#"{"kind":"message","number":5,"message":{"topic":"a/b","payload":"text\r\n\t ä","qos":2,"#,
            r#""received_at":1700000000000,"properties":[{"user_property":["a","1"]},{"content_type":"text/plain"},"#,
            r#"{"user_property":["a","2"]},{"response_topic":"r"},{"correlation_data_base64":"AMg="},"#,
            r#"{"payload_is_text":true}]}}"#,
        ),
        concat!(
            r#"{"kind":"message","number":6,"message":{"topic":"own","payload_base64":"AJ+Slg==","qos":2,"#,
            r#""received_at":1700000000000,"own":true}}"#,
        ),
        r#"{"kind":"message","number":7,"message":{"topic":"a","payload_base64":"Bw==","qos":2,"received_at":1700000000000}}"#,
        r#"{"kind":"retained","message":{"topic":"retained/a","payload":"{}","qos":2,"retain":true,"received_at":1700000000000}}"#,
        concat!(
            r#"{"kind":"retained","message":{"topic":"retained/b","payload_base64":"/w==","qos":2,"retain":true,"#,
            r#""received_at":1700000000000}}"#,
        ),
        concat!(
            r#"{"kind":"delayed","number":11,"due":1700000060000,"message":{"topic":"later","payload":"","qos":2,"#,
            r#""received_at":1700000000000,"expires_at":1700000000005}}"#,
        ),
        r#"{"kind":"setting","name":"user/bob","value":"{}"}"#,
        r#"{"kind":"end","lines":18}"#,
    ];
    for (line, expected) in text.lines().zip(expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(text.lines().count(), expected.len());
}

#[test]
fn the_example_of_the_documentation_is_an_export() {
    let text = include_str!("../../../docs/durability.md");
    let (_, example) = text.split_once("```json\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let (_, memory) = import_text(example).expect("read");
    assert_eq!(exported(&mut open(memory)), example);
}

/// Refused at this line, and what is told of it.
fn refusal(text: &str) -> (u64, String) {
    match import_text(text) {
        Err(LinesError::Line { line, why }) => (line, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_store_has_two_lines() {
    let text = exported(&mut open(Memory::new()));
    assert_eq!(text, "{\"format\":\"thingway store\",\"version\":1}\n{\"kind\":\"end\",\"lines\":1}\n");
    import_text(&text).expect("read");
}

#[test]
fn bad_lines_are_refused_with_their_number() {
    let text = exported(&mut keeper(everything()));
    let lines: Vec<_> = text.lines().collect();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refusal(&text.replacen(from, to, 1))
    };
    assert_eq!(refusal(""), (1, "the last line is missing: the file is cut".into()));
    assert!(
        refusal("{\"format\":\"something\",\"version\":1}\n").1.starts_with("it is not the first line of an export")
    );
    assert!(refusal("hello\n").1.starts_with("it is not the first line of an export"));
    let (line, why) = replaced("\"version\":1", "\"version\":2");
    assert!(
        line == 1 && why.starts_with("version 2, written by a later gateway; this one reads up to version 1"),
        "{why}"
    );
    for (from, to, line, why) in [
        ("\"kind\":\"group\"", "\"kind\":\"groups\"", 4, "unknown variant `groups`"),
        ("\"turn\":4", "\"turn\":4,\"more\":1", 4, "unknown field `more`"),
        ("\"qos\":2", "\"qos\":3", 2, "qos 3: it is 0, 1 or 2"),
        ("\"filter\":\"a/+/#\"", "\"filter\":\"a/#/b\"", 6, "filter \"a/#/b\": MisplacedWildcard"),
        ("\"client_id\":\"second\"", "\"client_id\":\"\"", 3, "client_id: Empty"),
        ("\"client_id\":\"second\"", "\"client_id\":\"zähler\\t1\"", 3, "another session is this client's"),
        ("\"next_packet_id\":9", "\"next_packet_id\":7", 8, "the session's next packet identifier comes after"),
        ("\"packet_id\":7", "\"packet_id\":6", 8, "packet identifiers go up along a queue"),
        ("\"stage\":\"received\"", "\"stage\":\"sent\"", 8, "stage: waiting has a message"),
        ("\"payload_base64\":\"Bw==\"", "\"payload_base64\":\"Bw\"", 14, "payload_base64: "),
        ("\"payload_base64\":\"Bw==\",", "", 14, "a message has either payload or payload_base64"),
        ("\"topic\":\"own\"", "\"topic\":\"a/+\"", 13, "topic \"a/+\": WildcardInName"),
        ("[\"a\",\"2\"]", "[\"a\\u0000\",\"2\"]", 12, "texts of properties"),
        ("\"payload\":\"{}\"", "\"payload\":\"\"", 15, "a retained message has a payload"),
        ("\"lines\":18", "\"lines\":17", 19, "18 lines come before it, not 17"),
        ("\"name\":\"user/bob\"", "\"name\":\"\"", 18, "a setting has a name"),
        ("\"number\":11", "\"number\":0", 17, ""),
    ] {
        if why.is_empty() {
            assert!(text.contains(from));
            import_text(&text.replacen(from, to, 1)).expect("delayed messages are counted from 0");
            continue;
        }
        let (found, told) = replaced(from, to);
        assert!(found == line && told.starts_with(why), "{from} -> {to}: {found}: {told}");
    }
    let without = |number: usize| {
        let rest: Vec<_> = lines.iter().enumerate().filter(|(at, _)| at + 1 != number).map(|(_, line)| *line).collect();
        refusal(&(rest.join("\n") + "\n"))
    };
    assert_eq!(without(19), (19, "the last line is missing: the file is cut".into()));
    assert!(without(18).1.starts_with("17 lines come before it"));
    let cut = |bytes: usize| refusal(&text[..text.len() - bytes]);
    assert_eq!(cut(1), (19, "it ends early".into()));
    assert_eq!(cut(10), (19, "it ends early".into()));
    assert_eq!(refusal(&(text.clone() + "\n")), (20, "there is something after the last line".into()));
    let (line, why) = refusal(&text.replacen("\"lines\":18", "\"lines\":18,", 1));
    assert!(line == 19 && why.contains("at column "), "{why}");
}

#[test]
fn a_file_is_there_when_it_is_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("export.jsonl");
    fs::write(&path, "older").expect("written");
    let missing = folder.path().join("missing/export.jsonl");
    assert!(matches!(export_to(&mut keeper(everything()), &missing), Err(ExportError::Write(_))));
    export_to(&mut keeper(everything()), &path).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("text"), exported(&mut keeper(everything())));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

/// Takes so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.0.checked_sub(bytes.len()) else { return Err(io::ErrorKind::StorageFull.into()) };
        self.0 = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_an_export_with_an_error() {
    let length = exported(&mut keeper(everything())).len();
    for bytes in (0..length).step_by(97) {
        let error = export(&mut keeper(everything()), &mut Full(bytes)).expect_err("full");
        assert!(matches!(error, ExportError::Write(_)), "{bytes}: {error:?}");
    }
    export(&mut keeper(everything()), &mut Full(length)).expect("there is room");
}
