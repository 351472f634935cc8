use std::fmt;

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef,
    postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode, PgTypeKind},
};
use zeroize::Zeroizing;

use super::{BoundStatement, STATEMENTS_MAX, SqlAccess, Statement, bad_column, failure};
use crate::{
    failure::Failure,
    gather::Gather,
    row::{Field, Row, Rows},
    server::Service,
    template::{TemplateError, Values},
    tls::Tls,
};

/// A PostgreSQL server.
pub struct Postgresql {
    options: PgConnectOptions,
    about: String,
}

impl Postgresql {
    /// The one at this place. Nobody connects yet.
    pub fn new(access: &SqlAccess) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&access.host)
            .port(access.port)
            .username(&access.username)
            .password(&access.password)
            .database(&access.database)
            .application_name("thingway")
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        let options = match &access.tls {
            Tls::Off => options.ssl_mode(PgSslMode::Disable),
            Tls::On(files) => {
                let mut options = options.ssl_mode(PgSslMode::VerifyFull);
                if let Some(ca) = &files.ca {
                    options = options.ssl_root_cert(ca);
                }
                if let Some((certificate, key)) = &files.client {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                options
            }
        };
        Self { options, about: format!("{}:{}/{}", access.host, access.port, access.database) }
    }

    /// A statement in which each placeholder is a parameter of the type text.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn statement(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Statement, TemplateError> {
        Statement::parse(text, is_known, |number, out| *out += &format!("${}", number + 1))
    }
}

impl fmt::Debug for Postgresql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgresql({})", self.about)
    }
}

impl Service for Postgresql {
    type Connection = PgConnection;
    type Template = Statement;
    type Question = BoundStatement;

    async fn connect(&self) -> Result<PgConnection, Failure> {
        PgConnection::connect_with(&self.options).await.map_err(of_error)
    }

    async fn ask(&self, connection: &mut PgConnection, question: &BoundStatement) -> Result<Rows, Failure> {
        let mut query = sqlx::query(AssertSqlSafe(question.text.clone()));
        for value in &question.values {
            query = query.bind(value.as_str());
        }
        let mut rows = query.fetch(connection);
        let mut gather = Gather::default();
        while let Some(row) = rows.try_next().await.map_err(of_error)? {
            let row = one(&row, &mut gather)?;
            gather.push(row)?;
        }
        Ok(gather.into_rows())
    }

    fn fill(template: &Statement, values: &dyn Values) -> Option<BoundStatement> {
        template.bind(values)
    }

    fn names(template: &Statement) -> Vec<&str> {
        template.template.names().collect()
    }
}

fn of_error(error: sqlx::Error) -> Failure {
    failure(error, |error| {
        let code = error.code().unwrap_or_default().into_owned();
        match code.get(..2).unwrap_or_default() {
            // Connection exceptions, too many connections, and a server that ends or begins.
            "08" | "53" | "57" => Failure::Unreachable(format!("{code}: {}", error.message())),
            // Names of ours, not values: credentials, the database, syntax, tables and columns.
            "28" | "3D" | "42" => Failure::Refused(format!("{code}: {}", error.message())),
            _ => Failure::Refused(format!("error {code}")),
        }
    })
}

fn one(row: &PgRow, gather: &mut Gather) -> Result<Row, Failure> {
    let mut fields = Row::default();
    for column in row.columns() {
        let name = column.name();
        let raw = row.try_get_raw(column.ordinal()).map_err(of_error)?;
        let kind = raw.type_info().into_owned();
        if raw.is_null() {
            fields.push(name, Field::Null);
            continue;
        }
        let bad = || bad_column(name, kind.name());
        let bytes = raw.as_bytes().map_err(|_| bad())?;
        gather.weigh(bytes.len())?;
        let integer = |number: Option<i64>| number.map(Field::Integer).ok_or_else(bad);
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(|text| Field::Text(Zeroizing::new(text.into()))).map_err(|_| bad())
        };
        let field = match (kind.name(), kind.kind()) {
            ("BOOL", _) => Field::Boolean(bytes.first() == Some(&1)),
            ("INT2", _) => integer(bytes.try_into().ok().map(i16::from_be_bytes).map(i64::from))?,
            ("INT4", _) => integer(bytes.try_into().ok().map(i32::from_be_bytes).map(i64::from))?,
            ("INT8", _) => integer(bytes.try_into().ok().map(i64::from_be_bytes))?,
            ("OID", _) => integer(bytes.try_into().ok().map(u32::from_be_bytes).map(i64::from))?,
            ("BYTEA", _) => Field::Bytes(Zeroizing::new(bytes.to_vec())),
            ("TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "JSON" | "citext", _) => text(bytes)?,
            // Its first byte is a version.
            ("JSONB", _) => text(bytes.get(1..).unwrap_or_default())?,
            ("TEXT[]" | "VARCHAR[]" | "CHAR[]", _) => {
                list(row, column.ordinal(), |text: String| Field::Text(Zeroizing::new(text))).ok_or_else(bad)?
            }
            ("INT2[]", _) => list(row, column.ordinal(), |n: i16| Field::Integer(n.into())).ok_or_else(bad)?,
            ("INT4[]", _) => list(row, column.ordinal(), |n: i32| Field::Integer(n.into())).ok_or_else(bad)?,
            ("INT8[]", _) => list(row, column.ordinal(), Field::Integer).ok_or_else(bad)?,
            (_, PgTypeKind::Enum(_)) => text(bytes)?,
            _ => return Err(bad()),
        };
        fields.push(name, field);
    }
    Ok(fields)
}

fn list<T>(row: &PgRow, index: usize, field: impl Fn(T) -> Field) -> Option<Field>
where
    Vec<Option<T>>: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let items: Vec<Option<T>> = row.try_get(index).ok()?;
    Some(Field::List(items.into_iter().map(|item| item.map_or(Field::Null, &field)).collect()))
}
