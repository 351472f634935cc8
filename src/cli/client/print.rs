use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::{arguments::SubscribeArguments, conversation::Message};

/// Prints a message on a line of its own.
pub fn print(message: Message, arguments: &SubscribeArguments) -> io::Result<()> {
    let mut line = Vec::new();
    if arguments.json {
        line.extend_from_slice(as_json(message).to_string().as_bytes());
    } else {
        if arguments.verbose {
            line.extend_from_slice(message.topic.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(&message.payload);
    }
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn as_json(message: Message) -> Json {
    let mut object = message.properties;
    insert(&mut object, "topic", message.topic);
    insert_bytes(&mut object, "payload", &message.payload);
    if let Some(qos) = message.qos {
        insert(&mut object, "qos", qos as u8);
    }
    insert(&mut object, "retain", message.retain);
    insert(&mut object, "duplicate", message.duplicate);
    Json::Object(object)
}

/// Adds something to what is printed of a message.
pub fn insert(object: &mut Map<String, Json>, name: &str, value: impl Into<Json>) {
    object.insert(name.into(), value.into());
}

/// Adds bytes: as text where they are text, and in hexadecimal digits under another name where they are not.
pub fn insert_bytes(object: &mut Map<String, Json>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => insert(object, name, text),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            insert(object, &format!("{name}_hex"), digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thingway_contract::Qos;

    use super::*;

    #[test]
    fn json_has_flags_properties_and_bytes() {
        let mut message = Message {
            topic: "a/b".into(),
            payload: b"x".to_vec(),
            qos: Some(Qos::AtLeastOnce),
            retain: true,
            duplicate: false,
            properties: Map::new(),
        };
        insert(&mut message.properties, "expiry_secs", 5);
        let mut expected =
            json!({"topic": "a/b", "payload": "x", "qos": 1, "retain": true, "duplicate": false, "expiry_secs": 5});
        assert_eq!(as_json(message.clone()), expected);
        message.payload = vec![0xff, 0x01];
        let object = expected.as_object_mut().expect("an object");
        object.remove("payload");
        object.insert("payload_hex".into(), "ff01".into());
        assert_eq!(as_json(message), expected);
    }
}
