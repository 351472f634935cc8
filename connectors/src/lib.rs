//! Lines to services that others run: databases, directories, web servers.
//!
//! Whatever is asked of one is a [`Template`] whose values are bound or escaped in the service's own way, never pasted. Every question goes through a
//! [`Line`], which bounds how long it may take, how many are asked at a time, and stops asking for a while when a service does not answer. What the
//! answers mean is for others to say: this crate knows nothing of the gateway.

mod breaker;
mod failure;
mod gather;
mod http;
mod ldap;
mod line;
mod mongodb;
mod redis;
mod row;
mod server;
mod sql;
mod template;
mod tls;

pub use self::{
    breaker::{Breaker, BreakerSettings, Entered},
    failure::Failure,
    http::{
        HttpAnswer, HttpError, HttpReply, HttpService, Question, QuestionError, QuestionMethod, QuestionText, Unfit,
    },
    ldap::{Directory, LDAP_BOUND, LdapPart, LdapQuestion, LdapSearch, LdapSearchError},
    line::{Line, LineCounts, LineSettings},
    mongodb::{Filter, FilterError, Mongodb, MongodbFind, MongodbQuestion},
    redis::{Redis, RedisCommand, RedisCommandError, RedisQuestion},
    row::{Field, Row, Rows},
    server::{Asking, Query, QueryTo, Server, Service},
    sql::{BoundStatement, Mysql, Postgresql, SqlAccess, Statement},
    template::{Template, TemplateError, Values},
    tls::{Tls, TlsError, TlsFiles},
};
