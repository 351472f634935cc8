use std::path::PathBuf;

use super::{
    schema::{settings, words},
    value::{Period, SecretText, Texts},
};

words! {
    /// How a web server is asked.
    pub enum HttpMethod {
        /// With the fields in the query.
        Get = "get",
        /// With the fields in the body.
        Post = "post",
    }
}

words! {
    /// How the fields of a POST are written.
    pub enum HttpBody {
        /// As a JSON object of texts.
        Json = "json",
        /// As a form.
        Form = "form",
    }
}

words! {
    /// What holds while a service cannot say.
    pub enum WhenDown {
        /// Nobody comes in, and nothing is allowed.
        Deny = "deny",
        /// The next one decides.
        Ignore = "ignore",
    }
}

settings! {
    /// A web server that is asked who may connect (`access.authenticators = ["http.NAME"]`), or what clients may do (`access.sources = ["http.NAME"]`).
    pub struct AccessHttp {
        /// The address, with placeholders such as ${username} in its path and its query, where values are percent-encoded.
        url: String = String::new();
        /// "post" sends the fields as the body, "get" in the query.
        method: HttpMethod = HttpMethod::Post;
        /// How the fields of a post are written: "json" or "form".
        body: HttpBody = HttpBody::Json;
        /// Names and texts with placeholders, such as { username = "${username}", password = "${password}" }. What a client does not show is empty. For
        /// clients that connect: ${username}, ${clientid}, ${password}, ${peerhost}, ${peerport}, ${peername}, ${cert_common_name}, ${listener} and ${proto_name};
        /// for what they do: ${topic}, ${action}, ${qos}, ${retain} and ${client_attrs.NAME}, but not ${password}, ${peerport} and ${peername}.
        fields: Texts = Texts::default();
        /// Headers, such as { x-api-key = "..." }, with placeholders. A client whose value has control characters is refused.
        headers: Texts = Texts::default();
        /// The header `authorization`, such as "Bearer ...".
        authorization: SecretText = SecretText::default();
        /// A file that has it.
        authorization_file: PathBuf = PathBuf::new();
        /// A file with the certificate authorities that are trusted for https, in PEM form; "" for those of the system.
        ca_file: PathBuf = PathBuf::new();
        /// How long an answer may take.
        timeout: Period = Period::from_secs(5);
        /// Questions at a time, and connections that are kept for further ones.
        connections: u16 = 8, within 1..=1024;
        /// Questions that wait for a connection. Further ones fail at once.
        waiting_max: u32 = 10_000, within 0..=1_000_000;
        /// After so many failures in a row (no answer, or 5xx) the server is not asked for a while.
        failures: u16 = 5, within 1..=10_000;
        /// For how long. Then one question is tried.
        rest: Period = Period::from_secs(5);
        /// What holds while it does not answer, answers 5xx, or is not asked: "deny", or "ignore", when the next one decides.
        when_down: WhenDown = WhenDown::Deny;
        /// For how long an answer holds for who shows and wants the very same; "0s" asks each time. A client that publishes often is better remembered for a
        /// while; one who was turned out may still come in as long.
        cache_time: Period = Period::from_secs(10);
        /// Answers about clients that connect that are remembered. Beyond, those that came first are forgotten.
        cache_max: u32 = 10_000, within 0..=10_000_000;
    }
}
