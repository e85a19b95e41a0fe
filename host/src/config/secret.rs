//! A value that is compared and never printed.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A secret text of the pipeline file. Two are equal where their texts are.
#[derive(Clone)]
pub struct Secret(SecretString);

impl<T: Into<SecretString>> From<T> for Secret {
    fn from(text: T) -> Secret {
        Secret(text.into())
    }
}

impl ExposeSecret<str> for Secret {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.expose_secret() == other.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
