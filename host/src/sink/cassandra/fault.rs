//! Whose fault an error is: nobody's that lasts, the row's, or the sink's as a whole.

use scylla::errors::{
    BadQuery, ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    NewSessionError, RequestAttemptError,
};

use crate::sink::Error;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// It may pass: write it again, for ever.
    Transient(String),
    /// The row's own: it will never be taken.
    Row(String),
    /// The server calls the statement invalid: the row's own fault if the table is still as it should be.
    Invalid(String),
    /// The user: no row will be taken.
    Refused(String),
    /// The cluster has no such data centre: no row will be taken.
    Elsewhere(String),
    /// The table is not as the plan says: no row will be taken.
    Table(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Transient(reason) => Error::Transient(reason),
            Fault::Row(reason)
            | Fault::Invalid(reason)
            | Fault::Refused(reason)
            | Fault::Elsewhere(reason)
            | Fault::Table(reason) => Error::Systemic(reason),
        }
    }
}

pub(super) fn of_request(error: &ExecutionError) -> Fault {
    match error {
        ExecutionError::BadQuery(BadQuery::SerializationError(error)) => Fault::Row(error.to_string()),
        ExecutionError::BadQuery(error) => Fault::Row(error.to_string()),
        ExecutionError::LastAttemptError(error) => of_attempt(error),
        ExecutionError::PrepareError(scylla::errors::PrepareError::AllAttemptsFailed { first_attempt }) => {
            of_attempt(first_attempt)
        }
        ExecutionError::RequestTimeout(after) => Fault::Transient(format!("no answer within {after:?}")),
        ExecutionError::ConnectionPoolError(error) => of_pool(error),
        other => Fault::Transient(other.to_string()),
    }
}

pub(super) fn of_attempt(error: &RequestAttemptError) -> Fault {
    match error {
        RequestAttemptError::DbError(error, reason) => of_server(error, reason),
        RequestAttemptError::SerializationError(error) => Fault::Row(error.to_string()),
        RequestAttemptError::CqlRequestSerialization(error) => Fault::Row(error.to_string()),
        other => Fault::Transient(other.to_string()),
    }
}

fn of_server(error: &DbError, reason: &str) -> Fault {
    match error {
        DbError::Invalid => Fault::Invalid(reason.to_owned()),
        DbError::Unauthorized | DbError::AuthenticationError => Fault::Refused(reason.to_owned()),
        DbError::SyntaxError | DbError::ConfigError | DbError::FunctionFailure { .. } => Fault::Table(reason.to_owned()),
        // What they say beside their numbers is repeated in the reason.
        DbError::ServerError | DbError::Overloaded | DbError::IsBootstrapping => {
            Fault::Transient(format!("the server says: {reason}"))
        }
        other => Fault::Transient(other.to_string()),
    }
}

fn of_pool(error: &ConnectionPoolError) -> Fault {
    match error {
        ConnectionPoolError::Broken { last_connection_error } => of_connection(last_connection_error),
        other => Fault::Transient(format!("no connection: {other}")),
    }
}

fn of_connection(error: &ConnectionError) -> Fault {
    if let ConnectionError::ConnectionSetupRequestError(setup) = error {
        match setup.get_error() {
            ConnectionSetupRequestErrorKind::MissingAuthentication => {
                return Fault::Refused("the cluster wants a user and a password".to_owned());
            }
            ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError | DbError::Unauthorized, reason) => {
                return Fault::Refused(reason.clone());
            }
            _ => {}
        }
    }
    Fault::Transient(format!("no connection: {error}"))
}

pub(super) fn of_connecting(error: &NewSessionError) -> Fault {
    match error {
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(error)) => of_pool(error),
        NewSessionError::FailedToResolveAnyHostname(hosts) => {
            Fault::Transient(format!("no host is known by the name {}", hosts.join(" or ")))
        }
        other => Fault::Transient(other.to_string()),
    }
}
