//! What databases that speak SQL have in common.

mod mysql;
mod postgresql;

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{
    failure::Failure,
    template::{Template, TemplateError, Values},
};

pub use self::{mysql::Mysql, postgresql::Postgresql};

/// Statements that each connection has prepared at a time.
const STATEMENTS_MAX: usize = 16;

/// A server and the way in.
#[derive(Clone)]
pub struct SqlAccess {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// Whether and how it is encrypted.
    pub tls: crate::tls::Tls,
}

/// A statement with a parameter for each value. What stands between them is the operator's; no value ever becomes a part of it.
#[derive(Debug)]
pub struct Statement {
    text: Arc<str>,
    template: Template,
}

/// A statement and its values.
pub struct BoundStatement {
    text: Arc<str>,
    values: Vec<Zeroizing<String>>,
}

impl Statement {
    fn parse(
        text: &str,
        is_known: impl Fn(&str) -> bool,
        mut parameter: impl FnMut(usize, &mut String),
    ) -> Result<Self, TemplateError> {
        let template = Template::parse(text, is_known)?;
        let mut text = String::new();
        template.write(&mut text, |number, _, out| parameter(number, out));
        Ok(Self { text: text.into(), template })
    }

    fn bind(&self, values: &dyn Values) -> Option<BoundStatement> {
        let value = |name: &str| {
            let value = values.value(name)?;
            // No database has U+0000 in its texts.
            (!value.contains('\0')).then(|| Zeroizing::new(value.into_owned()))
        };
        let values = self.template.names().map(value).collect::<Option<_>>()?;
        Some(BoundStatement { text: self.text.clone(), values })
    }
}

/// What a driver's error means. What a database writes may quote values: of its words only those are kept that name what is ours.
fn failure(error: sqlx::Error, of_database: impl FnOnce(&dyn sqlx::error::DatabaseError) -> Failure) -> Failure {
    use sqlx::Error;
    match error {
        Error::Database(error) => of_database(&*error),
        Error::Io(error) => Failure::Unreachable(error.to_string()),
        Error::Tls(error) => Failure::Unreachable(format!("TLS: {error}")),
        Error::Configuration(error) => Failure::Refused(error.to_string()),
        Error::Protocol(_) => Failure::Malformed("not the protocol of this database".into()),
        Error::TypeNotFound { type_name } => Failure::Malformed(format!("a column of the unknown type {type_name}")),
        _ => Failure::Malformed("not what a driver expects".into()),
    }
}

fn bad_column(name: &str, kind: &str) -> Failure {
    let kind = kind.to_lowercase();
    Failure::Malformed(format!(
        "the column {name} is of the type {kind}, which is neither text nor a whole number nor a truth"
    ))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    struct Named(&'static str);

    impl Values for Named {
        fn value(&self, name: &str) -> Option<Cow<'_, str>> {
            (name == "username").then_some(Cow::Borrowed(self.0))
        }
    }

    fn statement(text: &str) -> Statement {
        let known = |name: &str| ["username", "clientid"].contains(&name);
        Statement::parse(text, known, |number, out| *out += &format!("${}", number + 1)).expect("good")
    }

    #[test]
    fn values_become_parameters_and_nothing_else() {
        let text = "SELECT 1 FROM u WHERE a = ${username} OR b = ${username}";
        let evil = "' OR '1'='1'; --${username}";
        let bound = statement(text).bind(&Named(evil)).expect("known");
        assert_eq!(&*bound.text, "SELECT 1 FROM u WHERE a = $1 OR b = $2");
        assert_eq!(bound.values.iter().map(|value| value.as_str()).collect::<Vec<_>>(), [evil, evil]);
        assert!(statement("SELECT ${clientid}").bind(&Named("x")).is_none(), "not known");
        assert!(statement(text).bind(&Named("a\0b")).is_none(), "no database has such a text");
    }
}
