use crate::wire::{Field, read};

/// What a collector says of what it took (`ExportTracePartialSuccess` and `ExportMetricsPartialSuccess`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// How many it did not take.
    pub rejected: u64,
    /// Why, or advice when it took all.
    pub message: String,
}

/// Reads the answer to something that was taken; bytes that are none say nothing.
pub fn partial_success(body: &[u8]) -> Partial {
    let mut partial = Partial::default();
    let _ = read(body, |field, value| {
        if let (1, Field::Bytes(inner)) = (field, value) {
            let _ = read(inner, |field, value| match (field, value) {
                (1, Field::Number(count)) => partial.rejected = count,
                (2, Field::Bytes(text)) => partial.message = shown(text),
                _ => {}
            });
        }
    });
    partial
}

/// Reads why something was not taken (`google.rpc.Status`).
pub fn refusal(body: &[u8]) -> String {
    let mut message = String::new();
    let _ = read(body, |field, value| {
        if let (2, Field::Bytes(text)) = (field, value) {
            message = shown(text);
        }
    });
    message
}

/// As much of a stranger's text as belongs into a log.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(200)]).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use prost::Message;

    use super::*;

    #[test]
    fn answers_are_read() {
        let part = ExportTracePartialSuccess { rejected_spans: 300, error_message: "too\nold".into() };
        let answer = ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec();
        assert_eq!(partial_success(&answer), Partial { rejected: 300, message: "too\\nold".into() });
        for harmless in [&b""[..], b"{}", b"<html>", &answer[..answer.len() - 1]] {
            assert_eq!(partial_success(harmless).rejected, 0, "{harmless:?}");
        }
        assert_eq!(refusal(b"\x08\x03\x12\x02no"), "no");
        assert_eq!(refusal(b"<html>"), "");
    }
}
