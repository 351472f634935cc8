//! LDAP directories: a search, and a bind with what was found.

use std::{fmt, sync::Arc};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, dn_escape, ldap_escape,
};
use rustls::ClientConfig;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    gather::{Gather, ROWS_MAX},
    row::{Field, Row, Rows},
    server::Service,
    template::{Template, TemplateError, Values},
};

/// The name under which a row tells whether the directory let somebody in.
pub const LDAP_BOUND: &str = "bound";

/// A directory and the way in.
pub struct Directory {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As whom it is searched; empty for nobody.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// Encryption.
    pub tls: Option<Arc<ClientConfig>>,
    /// The encryption begins on a connection that is there already.
    pub start_tls: bool,
}

/// Where and by what somebody is searched for.
#[derive(Debug)]
pub struct LdapSearch {
    base: Template,
    filter: Template,
    attributes: Arc<[Box<str>]>,
    binds: bool,
}

/// A search with its values.
pub struct LdapQuestion {
    base: Zeroizing<String>,
    filter: Zeroizing<String>,
    attributes: Arc<[Box<str>]>,
    /// What to bind with.
    password: Option<Zeroizing<String>>,
}

/// An open connection. What drives it ends with it.
pub struct LdapConnection {
    ldap: Ldap,
    driver: AbortHandle,
}

impl LdapSearch {
    /// Reads where and by what is searched. With `binds` the first that is found is bound to with the value of `password`.
    ///
    /// # Errors
    /// When one of the texts is no template: the first, and which it is.
    pub fn parse(
        base: &str,
        filter: &str,
        attributes: impl IntoIterator<Item = Box<str>>,
        binds: bool,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Self, (LdapPart, LdapSearchError)> {
        let base = Template::parse(base, &is_known).map_err(|error| (LdapPart::Base, error.into()))?;
        let filter = Template::parse(filter, &is_known).map_err(|error| (LdapPart::Filter, error.into()))?;
        // A value never changes how a filter is built: if it is one with this, it is one with any.
        let mut tried = String::new();
        filter.write(&mut tried, |_, _, out| out.push('x'));
        if ldap3::parse_filter(&tried).is_err() {
            return Err((LdapPart::Filter, LdapSearchError::Filter));
        }
        Ok(Self { base, filter, attributes: attributes.into_iter().collect(), binds })
    }
}

/// Which of the texts is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapPart {
    /// Where is searched.
    Base,
    /// By what.
    Filter,
}

/// Why a text is of no use for a search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LdapSearchError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is no filter.
    #[error("no filter such as \"(uid=${{username}})\"")]
    Filter,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({}:{})", self.host, self.port)
    }
}

impl Drop for LdapConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Directory {
    async fn open(&self) -> Result<LdapConnection, Failure> {
        let mut settings = LdapConnSettings::new();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mut scheme = "ldap";
        if let Some(config) = &self.tls {
            settings = settings.set_config(config.clone()).set_starttls(self.start_tls);
            scheme = if self.start_tls { "ldap" } else { "ldaps" };
        }
        let url = format!("{scheme}://{host}:{}", self.port);
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &url).await.map_err(of_error)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!("a connection to a directory has ended: {error}");
            }
        });
        Ok(LdapConnection { ldap, driver: driver.abort_handle() })
    }

    /// Whether it lets somebody in.
    async fn binds(&self, dn: &str, password: &str) -> Result<bool, Failure> {
        // A bind without a password is one as nobody, which always succeeds (RFC 4513, section 5.1.2).
        if dn.is_empty() || password.is_empty() {
            return Ok(false);
        }
        let mut connection = self.open().await?;
        let answer = connection.ldap.simple_bind(dn, password).await.map_err(of_error)?;
        match answer.rc {
            0 => Ok(true),
            // inappropriateAuthentication, invalidCredentials, and what directories say of entries that are locked.
            48 | 49 | 53 => Ok(false),
            code => Err(of_code(code)),
        }
    }
}

impl Service for Directory {
    type Connection = LdapConnection;
    type Template = LdapSearch;
    type Question = LdapQuestion;

    async fn connect(&self) -> Result<LdapConnection, Failure> {
        let mut connection = self.open().await?;
        if !self.username.is_empty() {
            let answer = connection.ldap.simple_bind(&self.username, &self.password).await.map_err(of_error)?;
            match answer.rc {
                0 => {}
                49 => return Err(Failure::Refused("the user name or the password is wrong".into())),
                code => return Err(of_code(code)),
            }
        }
        Ok(connection)
    }

    async fn ask(&self, connection: &mut LdapConnection, question: &LdapQuestion) -> Result<Rows, Failure> {
        let attributes: Vec<&str> = question.attributes.iter().map(|name| &**name).collect();
        let options = SearchOptions::new().sizelimit(ROWS_MAX as i32);
        let search = connection.ldap.with_search_options(options);
        let mut search = search
            .streaming_search(&question.base, Scope::Subtree, &question.filter, attributes)
            .await
            .map_err(of_error)?;
        let mut gather = Gather::default();
        while let Some(entry) = search.next().await.map_err(of_error)? {
            if !entry.is_ref() && !entry.is_intermediate() {
                let row = row(SearchEntry::construct(entry), &question.attributes, &mut gather)?;
                gather.push(row)?;
            }
        }
        match search.finish().await.rc {
            0 => {}
            // noSuchObject: there is nobody.
            32 => return Ok(Rows::new()),
            // sizeLimitExceeded
            4 => return Err(Failure::TooLarge),
            code => return Err(of_code(code)),
        }
        let mut rows = gather.into_rows();
        if let (Some(password), Some(row)) = (&question.password, rows.first_mut()) {
            let dn = row.find("dn").and_then(|dn| dn.text()).unwrap_or_default().into_owned();
            let bound = self.binds(&dn, password).await?;
            row.push(LDAP_BOUND, Field::Boolean(bound));
        }
        Ok(rows)
    }

    fn fill(template: &LdapSearch, values: &dyn Values) -> Option<LdapQuestion> {
        // There is no name with an empty value in it.
        if template.base.names().any(|name| values.value(name).is_some_and(|value| value.is_empty())) {
            return None;
        }
        Some(LdapQuestion {
            base: template.base.fill(values, |value, out| out.push_str(&dn_escape(value)))?,
            filter: template.filter.fill(values, |value, out| out.push_str(&ldap_escape(value)))?,
            attributes: template.attributes.clone(),
            password: match template.binds {
                true => Some(Zeroizing::new(values.value("password")?.into_owned())),
                false => None,
            },
        })
    }

    fn names(template: &LdapSearch) -> Vec<&str> {
        let password = template.binds.then_some("password");
        template.base.names().chain(template.filter.names()).chain(password).collect()
    }
}

fn row(entry: SearchEntry, wanted: &[Box<str>], gather: &mut Gather) -> Result<Row, Failure> {
    let mut row = Row::default();
    gather.weigh(entry.dn.len())?;
    row.push("dn", Field::Text(Zeroizing::new(entry.dn)));
    // A directory writes names in its own way.
    let known = |name: &str| wanted.iter().find(|it| it.eq_ignore_ascii_case(name)).cloned();
    let texts = entry.attrs.into_iter().map(|(name, values)| {
        (name, values.into_iter().map(|text| Field::Text(Zeroizing::new(text))).collect::<Vec<_>>())
    });
    let bytes = entry.bin_attrs.into_iter().map(|(name, values)| {
        (name, values.into_iter().map(|bytes| Field::Bytes(Zeroizing::new(bytes))).collect::<Vec<_>>())
    });
    for (name, mut values) in texts.chain(bytes) {
        let Some(name) = known(&name) else { continue };
        for value in &values {
            gather.weigh(match value {
                Field::Text(text) => text.len(),
                Field::Bytes(bytes) => bytes.len(),
                _ => 0,
            })?;
        }
        let field = if values.len() == 1 { values.remove(0) } else { Field::List(values) };
        row.push(name, field);
    }
    Ok(row)
}

fn of_error(error: LdapError) -> Failure {
    match error {
        LdapError::Io { source } => Failure::Unreachable(source.to_string()),
        LdapError::OpSend { .. }
        | LdapError::ResultRecv { .. }
        | LdapError::IdScrubSend { .. }
        | LdapError::MiscSend { .. }
        | LdapError::EndOfStream => Failure::Unreachable("it has closed the connection".into()),
        LdapError::Timeout { .. } => Failure::Timeout,
        LdapError::LdapResult { result } => of_code(result.rc),
        LdapError::FilterParsing => Failure::Refused("no filter".into()),
        _ => Failure::Malformed("not the protocol of a directory, or a name that cannot be checked".into()),
    }
}

/// Result codes of RFC 4511, appendix A. What a directory writes beside them may quote values.
fn of_code(code: u32) -> Failure {
    match code {
        51 | 52 => Failure::Unreachable(format!("result {code}: it is busy or unavailable")),
        8 | 13 => Failure::Refused(format!("result {code}: it wants an encrypted connection or a stronger way in")),
        34 => Failure::Refused("result 34: base_dn is no name".into()),
        50 => Failure::Refused("result 50: the user may not search there".into()),
        code => Failure::Refused(format!("result {code}")),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    struct Named(&'static str);

    impl Values for Named {
        fn value(&self, name: &str) -> Option<Cow<'_, str>> {
            (name != "clientid").then_some(Cow::Borrowed(self.0))
        }
    }

    fn search(base: &str, filter: &str, binds: bool) -> Result<LdapSearch, (LdapPart, LdapSearchError)> {
        LdapSearch::parse(base, filter, ["a".into()], binds, |name| ["username", "clientid"].contains(&name))
    }

    #[test]
    fn values_stay_values() {
        let template = search("uid=${username},dc=x", "(&(a=1)(uid=${username}))", true).expect("good");
        for (value, base, filter) in [
            ("bob", "uid=bob,dc=x", "(&(a=1)(uid=bob))"),
            ("*)(uid=*", r"uid=*)(uid\3d*,dc=x", r"(&(a=1)(uid=\2a\29\28uid=\2a))"),
            ("x,dc=other", r"uid=x\2cdc\3dother,dc=x", "(&(a=1)(uid=x,dc=other))"),
            ("a\\\0", r"uid=a\5c\00,dc=x", r"(&(a=1)(uid=a\5c\00))"),
            (" #", r"uid=\20#,dc=x", "(&(a=1)(uid= #))"),
        ] {
            let question = Directory::fill(&template, &Named(value)).expect("known");
            assert_eq!((question.base.as_str(), question.filter.as_str()), (base, filter));
            assert!(ldap3::parse_filter(question.filter.as_str()).is_ok());
            assert_eq!(question.password.as_deref().map(String::as_str), Some(value));
        }
        assert_eq!(Directory::names(&template), ["username", "username", "password"]);
        assert!(Directory::fill(&template, &Named("")).is_none());
        let unknown = search("dc=x", "(uid=${clientid})", false).expect("good");
        assert!(Directory::fill(&unknown, &Named("x")).is_none());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let template = LdapSearchError::Template(TemplateError::Unknown("x".into()));
        assert_eq!(search("${x}", "(a=b)", false).err(), Some((LdapPart::Base, template.clone())));
        assert_eq!(search("", "(a=${x})", false).err(), Some((LdapPart::Filter, template)));
        for filter in ["", "a=b)", "(a=${username}", "(&(a=b)"] {
            assert_eq!(search("", filter, false).err(), Some((LdapPart::Filter, LdapSearchError::Filter)), "{filter}");
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_a_password() {
        let nowhere = Directory {
            host: "127.0.0.1".into(),
            port: 1,
            username: String::new(),
            password: Zeroizing::default(),
            tls: None,
            start_tls: false,
        };
        assert_eq!(nowhere.binds("uid=bob", "").await, Ok(false), "it is not even asked");
        assert_eq!(nowhere.binds("", "x").await, Ok(false));
        assert!(nowhere.binds("uid=bob", "x").await.is_err_and(|failure| failure.is_outage()));
    }
}
