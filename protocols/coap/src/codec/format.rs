use std::borrow::Cow;

/// Content-Formats of IANA's registry and the media types they stand for. The first with a media type is the one that is sent for it.
const FORMATS: &[(u16, &str)] = &[
    (0, "text/plain;charset=utf-8"),
    (0, "text/plain"),
    (16, "application/cose;cose-type=\"cose-encrypt0\""),
    (17, "application/cose;cose-type=\"cose-mac0\""),
    (18, "application/cose;cose-type=\"cose-sign1\""),
    (19, "application/ace+cbor"),
    (21, "image/gif"),
    (22, "image/jpeg"),
    (23, "image/png"),
    (40, "application/link-format"),
    (41, "application/xml"),
    (42, "application/octet-stream"),
    (47, "application/exi"),
    (50, "application/json"),
    (51, "application/json-patch+json"),
    (52, "application/merge-patch+json"),
    (60, "application/cbor"),
    (61, "application/cwt"),
    (62, "application/multipart-core"),
    (63, "application/cbor-seq"),
    (96, "application/cose;cose-type=\"cose-encrypt\""),
    (97, "application/cose;cose-type=\"cose-mac\""),
    (98, "application/cose;cose-type=\"cose-sign\""),
    (101, "application/cose-key"),
    (102, "application/cose-key-set"),
    (110, "application/senml+json"),
    (111, "application/sensml+json"),
    (112, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (114, "application/senml-exi"),
    (115, "application/sensml-exi"),
    (140, "application/yang-data+cbor;id=sid"),
    (256, "application/coap-group+json"),
    (257, "application/concise-problem-details+cbor"),
    (258, "application/swid+cbor"),
    (271, "application/dots+cbor"),
    (272, "application/missing-blocks+cbor-seq"),
    (310, "application/senml+xml"),
    (311, "application/sensml+xml"),
    (320, "application/senml-etch+json"),
    (322, "application/senml-etch+cbor"),
    (340, "application/yang-data+cbor"),
    (341, "application/yang-data+cbor;id=name"),
    (432, "application/td+json"),
    (606, "application/core-pubsub+cbor"),
    (10000, "application/vnd.ocf+cbor"),
    (10001, "application/oscore"),
    (10002, "application/javascript"),
    (11542, "application/vnd.oma.lwm2m+tlv"),
    (11543, "application/vnd.oma.lwm2m+json"),
    (11544, "application/vnd.oma.lwm2m+cbor"),
    (20000, "text/css"),
    (30000, "image/svg+xml"),
];

/// The media type of a Content-Format, for MQTT's content type property. One that is not in the table becomes `coap/` and its number, which
/// [`content_format`] turns back.
pub fn media_type(format: u16) -> Cow<'static, str> {
    match FORMATS.iter().find(|(number, _)| *number == format) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("coap/{format}")),
    }
}

/// The Content-Format of a media type; `None` when it has no number, and then no Content-Format is sent. Letter case and spaces do not count.
pub fn content_format(media_type: &str) -> Option<u16> {
    if let Some(number) = media_type.strip_prefix("coap/") {
        return number.parse().ok();
    }
    let same = |name: &str| {
        let given = media_type.bytes().filter(|byte| *byte != b' ').map(|byte| byte.to_ascii_lowercase());
        given.eq(name.bytes())
    };
    FORMATS.iter().find(|(_, name)| same(name)).map(|(number, _)| *number)
}

/// True for formats whose payload is UTF-8 text: MQTT's payload format indicator is set for them when the payload is indeed.
pub fn is_text(format: u16) -> bool {
    matches!(format, 0 | 40 | 41 | 50..=52 | 110 | 111 | 256 | 310 | 311 | 320 | 432 | 10002 | 11543 | 20000 | 30000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_comes_back() {
        for (number, name) in FORMATS {
            assert_eq!(content_format(name), Some(*number), "{name}");
            assert_eq!(content_format(&media_type(*number)), Some(*number));
        }
        assert_eq!(content_format("Text/Plain; Charset=UTF-8"), Some(0));
        assert_eq!(content_format("application/x-mine"), None);
        for unknown in [1, 4711, u16::MAX] {
            assert_eq!(media_type(unknown), format!("coap/{unknown}"));
            assert_eq!(content_format(&media_type(unknown)), Some(unknown));
        }
        assert_eq!(content_format("coap/65536"), None);
    }
}
