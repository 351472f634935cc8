use std::fmt;

/// A method or response code (RFC 7252, section 12.1): three bits of class, five of detail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u8);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $class:literal . $detail:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self::new($class, $detail);)*
        }
    };
}

codes! {
    /// No method and no response: a ping, an acknowledgement alone, a reset.
    EMPTY = 0 . 0;
    /// GET (RFC 7252, section 5.8.1).
    GET = 0 . 1;
    /// POST (section 5.8.2).
    POST = 0 . 2;
    /// PUT (section 5.8.3).
    PUT = 0 . 3;
    /// DELETE (section 5.8.4).
    DELETE = 0 . 4;
    /// FETCH (RFC 8132).
    FETCH = 0 . 5;
    /// PATCH (RFC 8132).
    PATCH = 0 . 6;
    /// iPATCH (RFC 8132).
    IPATCH = 0 . 7;
    /// 2.01 Created.
    CREATED = 2 . 1;
    /// 2.02 Deleted.
    DELETED = 2 . 2;
    /// 2.03 Valid.
    VALID = 2 . 3;
    /// 2.04 Changed.
    CHANGED = 2 . 4;
    /// 2.05 Content.
    CONTENT = 2 . 5;
    /// 2.07, in no registry: what EMQX answers when an observation is cancelled.
    NO_CONTENT = 2 . 7;
    /// 2.31 Continue (RFC 7959).
    CONTINUE = 2 . 31;
    /// 4.00 Bad Request.
    BAD_REQUEST = 4 . 0;
    /// 4.01 Unauthorized.
    UNAUTHORIZED = 4 . 1;
    /// 4.02 Bad Option.
    BAD_OPTION = 4 . 2;
    /// 4.03 Forbidden.
    FORBIDDEN = 4 . 3;
    /// 4.04 Not Found.
    NOT_FOUND = 4 . 4;
    /// 4.05 Method Not Allowed.
    METHOD_NOT_ALLOWED = 4 . 5;
    /// 4.06 Not Acceptable.
    NOT_ACCEPTABLE = 4 . 6;
    /// 4.08 Request Entity Incomplete (RFC 7959).
    REQUEST_ENTITY_INCOMPLETE = 4 . 8;
    /// 4.12 Precondition Failed.
    PRECONDITION_FAILED = 4 . 12;
    /// 4.13 Request Entity Too Large.
    REQUEST_ENTITY_TOO_LARGE = 4 . 13;
    /// 4.15 Unsupported Content-Format.
    UNSUPPORTED_CONTENT_FORMAT = 4 . 15;
    /// 4.29 Too Many Requests (RFC 8516).
    TOO_MANY_REQUESTS = 4 . 29;
    /// 5.00 Internal Server Error.
    INTERNAL_SERVER_ERROR = 5 . 0;
    /// 5.01 Not Implemented.
    NOT_IMPLEMENTED = 5 . 1;
    /// 5.03 Service Unavailable.
    SERVICE_UNAVAILABLE = 5 . 3;
    /// 5.05 Proxying Not Supported.
    PROXYING_NOT_SUPPORTED = 5 . 5;
}

impl Code {
    /// The code written `class.detail`.
    pub const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail & 0x1f)
    }

    /// The part before the dot.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The part behind the dot.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// True for methods, known or not.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// True for response codes, known or not. Class 3 is unassigned, but not reserved.
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    /// True for classes that make a message malformed (RFC 7252, section 12.1).
    pub const fn is_reserved(self) -> bool {
        matches!(self.class(), 1 | 6 | 7)
    }

    /// True for 2.xx.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// True for methods that change nothing and so may be handled twice (RFC 7252, section 5.1; RFC 8132, section 2).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::GET | Self::FETCH)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of a message (RFC 7252, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CON: is acknowledged.
    Confirmable,
    /// NON: is not.
    NonConfirmable,
    /// ACK.
    Acknowledgement,
    /// RST: the message could not be handled.
    Reset,
}

impl Kind {
    pub(crate) const fn of(first: u8) -> Self {
        match first >> 4 & 3 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_the_specification_writes_them() {
        assert_eq!(Code::CONTENT.to_string(), "2.05");
        assert_eq!(Code::CONTINUE.to_string(), "2.31");
        assert_eq!((Code::GET.0, Code::CONTENT.0, Code::PROXYING_NOT_SUPPORTED.0), (1, 0x45, 0xa5));
        assert!(Code(0x1f).is_request() && !Code::EMPTY.is_request() && Code::new(7, 1).is_reserved());
    }
}
