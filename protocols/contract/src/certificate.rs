/// What a peer's certificate says of it, after it was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject.
    pub common_name: Option<Box<str>>,
    /// Its whole subject, as `CN=device 1, O=Example`.
    pub subject: Option<Box<str>>,
    /// Its alternative names, in their order.
    pub alternative_names: Box<[(NameKind, Box<str>)]>,
    /// What the listener takes for the user name.
    pub username: Option<Box<str>>,
    /// What the listener takes for the client id.
    pub client_id: ClientIdSource,
}

/// Of what kind an alternative name is (RFC 5280, section 4.2.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A DNS name.
    Dns,
    /// A URI.
    Uri,
    /// A mail address.
    Email,
    /// An IP address, as text.
    Address,
}

/// From where a peer has its client id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientIdSource {
    /// It says so itself.
    #[default]
    Peer,
    /// From its certificate.
    Certificate(Box<str>),
    /// It should be in the certificate, which has no such name.
    Missing,
}

impl Certificate {
    /// One of which only the common name is known, which is the user name: as a proxy tells it.
    pub fn of_common_name(name: Box<str>) -> Self {
        Self { common_name: Some(name.clone()), username: Some(name), ..Self::default() }
    }

    /// The first alternative name of a kind, or of any.
    pub fn alternative_name(&self, kind: Option<NameKind>) -> Option<&str> {
        let fits = |known: &NameKind| kind.is_none_or(|kind| kind == *known);
        self.alternative_names.iter().find(|(known, _)| fits(known)).map(|(_, name)| &**name)
    }

    /// The listener takes something of it for the peer's name.
    pub fn names_peer(&self) -> bool {
        self.username.is_some() || matches!(self.client_id, ClientIdSource::Certificate(_))
    }
}
