//! What a stage's plugin may use and reach, from the file as written to the plan.

use std::time::Duration;

use url::Url;

use super::code;
use super::defaults;
use super::file::{FullHttpGrantFile, GrantsFile, HttpGrantFile, LimitsFile};
use super::plan::{Grants, HttpGrant, Limits, ReadGrant};
use super::resolve::{Resolver, default, plain};
use super::units;
use super::written::{HumanDuration, HumanSize, Written};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Resolver<'_> {
    pub(super) fn limits(&mut self, written: LimitsFile) -> Limits {
        let mut limits = Limits::default();
        self.size("memory", written.memory, 64 * KIB, 4 * GIB, &mut limits.memory_bytes);
        self.size("stack", written.stack, 16 * KIB, MIB, &mut limits.stack_bytes);
        self.size("state", written.state, KIB, 64 * MIB, &mut limits.state_bytes);
        self.size("output", written.output, 64 * KIB, GIB, &mut limits.output_bytes);
        self.size("compile-memory", written.compile_memory, 64 * MIB, 64 * GIB, &mut limits.compile_memory_bytes);
        self.time("batch-time", written.batch_time, "1ms", "10m", &mut limits.batch_time);
        self.time("compile-time", written.compile_time, "1s", "1h", &mut limits.compile_time);
        // The schema holds their ranges.
        written.table_elements.inspect(|elements| limits.table_elements = elements.value);
        written.instances.inspect(|instances| limits.instances = instances.value);
        written.log_lines.inspect(|lines| limits.log_lines = lines.value);
        written.handles.inspect(|handles| limits.handles = handles.value);
        limits
    }

    fn size(&mut self, key: &str, written: Option<Written<HumanSize>>, least: u64, most: u64, into: &mut u64) {
        let Some(Written { value: HumanSize(bytes), span }) = written else { return };
        if !(least..=most).contains(&bytes) {
            let (least, most) = (units::size_text(least), units::size_text(most));
            let way = format!("as in: {key} = \"{}\"", units::size_text(*into));
            self.error(code::OUT_OF_RANGE, format!("`{key}` is from {least} to {most}"), &span, way);
        }
        *into = bytes;
    }

    fn time(&mut self, key: &str, written: Option<Written<HumanDuration>>, least: &str, most: &str, into: &mut Duration) {
        let Some(Written { value: HumanDuration(time), span }) = written else { return };
        if !(default(units::duration(least))..=default(units::duration(most))).contains(&time) {
            let way = format!("as in: {key} = \"{}\"", units::duration_text(*into));
            self.error(code::OUT_OF_RANGE, format!("`{key}` is from {least} to {most}"), &span, way);
        }
        *into = time;
    }

    pub(super) fn grants(&mut self, written: GrantsFile) -> Grants {
        let http = written.http.unwrap_or_default();
        let env = written.env.unwrap_or_default();
        let read = written.read.unwrap_or_default();
        Grants {
            http: http.into_iter().filter_map(|grant| self.http_grant(grant)).collect(),
            env: env
                .into_iter()
                .filter_map(|name| {
                    let value = (self.lookup)(&name.value);
                    if value.is_none() {
                        let message = format!("the environment has no `{}`, which the stage is granted", name.value);
                        self.error(code::UNRESOLVED_VARIABLE, message, &name.span, format!("set {}", name.value));
                    }
                    Some((name.value, value?.into()))
                })
                .collect(),
            read: read.into_iter().filter_map(|directory| self.read_grant(directory)).collect(),
        }
    }

    fn http_grant(&mut self, written: Written<HttpGrantFile>) -> Option<HttpGrant> {
        let full = match written.value {
            HttpGrantFile::Full(full) => full,
            HttpGrantFile::Origin(url) => {
                let url = Some(Written { value: url, span: written.span });
                FullHttpGrantFile { url, headers: None, timeout: None, response_limit: None }
            }
        };
        let url = full.url?;
        let headers = full.headers.map(|headers| self.headers(headers.value)).unwrap_or_default();
        let time = |text| default(units::duration(text));
        let mut timeout = time(defaults::GRANT_TIMEOUT);
        self.time("timeout", full.timeout, "1ms", "10m", &mut timeout);
        let mut response_bytes_max = default(units::size(defaults::GRANT_RESPONSE_LIMIT));
        self.size("response-limit", full.response_limit, KIB, GIB, &mut response_bytes_max);
        let origin = match origin(&url.value) {
            Ok(origin) => origin,
            Err(reason) => {
                let way = "a grant is an origin: \"https://api.example.com\", with a port where it is not the usual one";
                self.error(code::BAD_GRANT, format!("`{}` {reason}", url.value), &url.span, way);
                return None;
            }
        };
        if origin.scheme() == "http" && !headers.is_empty() && !is_loopback(&origin) {
            let way = "use https, or remove the headers";
            self.warn(code::SECRET_IN_THE_CLEAR, format!("headers go to {origin} unencrypted"), &url.span, way);
        }
        Some(HttpGrant { origin, headers, timeout, response_bytes_max })
    }

    fn read_grant(&mut self, written: Written<String>) -> Option<ReadGrant> {
        let path = self.folder.join(&written.value);
        let wrong = match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => return Some(ReadGrant { path, name: written.value }),
            Ok(_) => "is not a directory".to_owned(),
            Err(error) => format!("cannot be read: {}", plain(&error)),
        };
        let way = "name a directory, relative to the pipeline file: the plugin may read what is below it";
        self.error(code::BAD_GRANT, format!("`{}` {wrong}", written.value), &written.span, way);
        None
    }
}

/// Scheme, host and port, and nothing else.
fn origin(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => {}
        other => return Err(format!("is {other}, not http or https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password, which belong into `headers`".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("names a path: a stage is granted a whole origin".to_owned());
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(_)) | None => false,
    }
}
