use std::fmt;

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef,
    mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlSslMode},
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

/// A MySQL or MariaDB server.
pub struct Mysql {
    options: MySqlConnectOptions,
    about: String,
}

impl Mysql {
    /// The one at this place. Nobody connects yet.
    pub fn new(access: &SqlAccess) -> Self {
        let options = MySqlConnectOptions::new()
            .host(&access.host)
            .port(access.port)
            .username(&access.username)
            .password(&access.password)
            .database(&access.database)
            .statement_cache_capacity(STATEMENTS_MAX)
            // The operator's statements mean what they mean to the server.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .disable_statement_logging();
        let options = match &access.tls {
            Tls::Off => options.ssl_mode(MySqlSslMode::Disabled),
            Tls::On(files) => {
                let mut options = options.ssl_mode(MySqlSslMode::VerifyIdentity);
                if let Some(ca) = &files.ca {
                    options = options.ssl_ca(ca);
                }
                if let Some((certificate, key)) = &files.client {
                    options = options.ssl_client_cert(certificate).ssl_client_key(key);
                }
                options
            }
        };
        Self { options, about: format!("{}:{}/{}", access.host, access.port, access.database) }
    }

    /// A statement in which each placeholder is a parameter.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn statement(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Statement, TemplateError> {
        Statement::parse(text, is_known, |_, out| out.push('?'))
    }
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mysql({})", self.about)
    }
}

impl Service for Mysql {
    type Connection = MySqlConnection;
    type Template = Statement;
    type Question = BoundStatement;

    async fn connect(&self) -> Result<MySqlConnection, Failure> {
        MySqlConnection::connect_with(&self.options).await.map_err(of_error)
    }

    async fn ask(&self, connection: &mut MySqlConnection, question: &BoundStatement) -> Result<Rows, Failure> {
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
        let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() else {
            return Failure::Refused("an unknown error".into());
        };
        let (number, message) = (error.number(), error.message());
        match number {
            // Too many connections, a server that ends, a statement or connection that somebody has ended, a host that is blocked.
            1040 | 1053 | 1077 | 1129 | 1203 | 1317 | 1927 => Failure::Unreachable(format!("{number}: {message}")),
            // Names of ours, not values: credentials, the database, syntax, tables and columns.
            1044 | 1045 | 1049 | 1054 | 1064 | 1142 | 1143 | 1146 | 1305 => {
                Failure::Refused(format!("{number}: {message}"))
            }
            _ => Failure::Refused(format!("error {number}")),
        }
    })
}

fn one(row: &MySqlRow, gather: &mut Gather) -> Result<Row, Failure> {
    let mut fields = Row::default();
    for column in row.columns() {
        let (name, index) = (column.name(), column.ordinal());
        let raw = row.try_get_raw(index).map_err(of_error)?;
        if raw.is_null() {
            fields.push(name, Field::Null);
            continue;
        }
        let kind = raw.type_info().into_owned();
        let bad = || bad_column(name, kind.name());
        let bytes: &[u8] = row.try_get_unchecked(index).map_err(|_| bad())?;
        gather.weigh(bytes.len())?;
        let field = match kind.name() {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
                Field::Integer(row.try_get_unchecked(index).map_err(|_| bad())?)
            }
            "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED" => {
                let number: u64 = row.try_get_unchecked(index).map_err(|_| bad())?;
                Field::Integer(i64::try_from(number).map_err(|_| bad())?)
            }
            "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET" | "JSON"
            | "DECIMAL" => {
                let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
                Field::Text(Zeroizing::new(text.into()))
            }
            "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BIT" => {
                Field::Bytes(Zeroizing::new(bytes.to_vec()))
            }
            _ => return Err(bad()),
        };
        fields.push(name, field);
    }
    Ok(fields)
}
