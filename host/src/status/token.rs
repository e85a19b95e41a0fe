//! The bearer token that every change through the API asks for.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Random bytes in a token; it is written as hex.
const TOKEN_BYTES: usize = 32;

/// Never logged, never served.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

impl Token {
    /// Where the token of a store is kept.
    pub fn file(store_dir: &Path) -> PathBuf {
        store_dir.join("token")
    }

    /// The token beside the store, made once, readable by its owner only.
    pub fn load_or_make(store_dir: &Path) -> anyhow::Result<Token> {
        let path = Token::file(store_dir);
        if !path.exists() {
            let mut random = [0u8; TOKEN_BYTES];
            let provider = rustls::crypto::ring::default_provider();
            provider.secure_random.fill(&mut random).ok().context("draw a random token")?;
            let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            // A temporary file is 0600 from its first byte on, and whole when it gets its name.
            let mut file = tempfile::NamedTempFile::new_in(store_dir).with_context(|| format!("write {}", path.display()))?;
            file.write_all(hex.as_bytes()).with_context(|| format!("write {}", path.display()))?;
            if let Err(refused) = file.persist_noclobber(&path) {
                ensure!(path.exists(), "write {}: {}", path.display(), refused.error);
            }
        }
        Token::load(store_dir)
    }

    /// The token of a host that owns the store.
    pub fn load(store_dir: &Path) -> anyhow::Result<Token> {
        let path = Token::file(store_dir);
        let mode = fs::metadata(&path).with_context(|| format!("read {}", path.display()))?.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others: make it yours with chmod 600, or delete it to have a new one made",
            path.display()
        );
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Token::new(text.trim()).with_context(|| format!("read {}: delete it to have a new one made", path.display()))
    }

    /// A token that was chosen by a person.
    pub fn new(text: &str) -> anyhow::Result<Token> {
        ensure!(
            text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic()),
            "a token has at least 16 visible ASCII characters"
        );
        Ok(Token(SecretString::from(text)))
    }

    /// Compares in constant time.
    pub fn matches(&self, given: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The fragment of a link to the page, which no server is sent.
    pub fn fragment(&self) -> String {
        format!("#token={}", self.0.expose_secret())
    }

    /// The value of an `Authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Token::load_or_make(dir.path()).unwrap();
        let second = Token::load_or_make(dir.path()).unwrap();
        assert_eq!(first.bearer(), second.bearer());
        assert_eq!(first.bearer().len(), "Bearer ".len() + 2 * TOKEN_BYTES);
        assert_eq!(fs::metadata(Token::file(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.matches(first.bearer().strip_prefix("Bearer ").unwrap()));
        assert!(!first.matches("") && !first.matches(&first.bearer()));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Token::load_or_make(dir.path()).unwrap();
        fs::set_permissions(Token::file(dir.path()), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::load_or_make(dir.path()).unwrap_err().to_string().contains("chmod 600"));
    }
}
