//! `[source]` from the file to the plan, with what each service would ignore or replace silently.

use std::ops::Range;
use std::time::Duration;

use super::code;
use super::defaults;
use super::diagnostic::Diagnostic;
use super::file::*;
use super::plan::*;
use super::resolve::{Resolver, default};
use super::units;
use super::written::Written;

/// The most users that randomuser gives at once; asked for more, it gives one.
pub const RANDOMUSER_RESULTS_MAX: u32 = 5_000;

pub const NATIONALITIES: [&str; 21] = [
    "AU", "BR", "CA", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IN", "IR", "MX", "NL", "NO", "NZ", "RS", "TR", "UA", "US",
];

/// The top-level fields of a user, which `inc` and `exc` choose from.
pub const USER_FIELDS: [&str; 12] =
    ["gender", "name", "location", "email", "login", "dob", "registered", "phone", "cell", "id", "picture", "nat"];

/// A key of `[source]`, where it was written, and the kinds that it is for.
type Use<'k> = (&'k str, Option<Range<usize>>, &'k [SourceKindFile]);

impl Resolver<'_> {
    pub(super) fn source(&mut self, source: SourceFile, span: Range<usize>) -> Option<SourcePlan> {
        let kind = source.kind.as_ref()?.value;
        self.unused_keys(&source, kind);
        let records_per_poll = source.records_per_poll.as_ref().map_or(
            if kind == SourceKindFile::File { defaults::RECORDS_PER_POLL_FILE } else { defaults::RECORDS_PER_POLL },
            |written| written.value,
        );
        let schedule = self.schedule(&source, kind);
        let sample = source.sample.as_ref().and_then(|written| self.sample(written));
        let timeout =
            source.timeout.as_ref().map_or_else(|| default(units::duration(defaults::TIMEOUT)), |written| written.value.0);
        let response_bytes_max = source
            .response_limit
            .as_ref()
            .map_or_else(|| default(units::size(defaults::RESPONSE_LIMIT)), |written| written.value.0);
        let records = source.records.as_ref().map(|written| written.value);
        let of_timeout =
            source.timeout.as_ref().filter(|_| timeout.is_zero()).map(|written| ("timeout", &written.span, defaults::TIMEOUT));
        let of_size = source.response_limit.as_ref().filter(|_| response_bytes_max == 0);
        let of_size = of_size.map(|written| ("response-limit", &written.span, defaults::RESPONSE_LIMIT));
        for (key, span, example) in of_timeout.into_iter().chain(of_size) {
            self.error(
                code::OUT_OF_RANGE,
                format!("a `{key}` of zero lets nothing in"),
                span,
                format!("as in: {key} = \"{example}\""),
            );
        }
        let kind = match kind {
            SourceKindFile::None => return None,
            SourceKindFile::RandomUser => SourceKind::RandomUser(self.randomuser(source, records_per_poll)?),
            SourceKindFile::Http => SourceKind::Http(self.http(source, span)?),
            SourceKindFile::File => SourceKind::File(self.file(source, span)?),
            SourceKindFile::Generator => SourceKind::Generator(GeneratorPlan { seed: seed_of(&source) }),
        };
        Some(SourcePlan { kind, schedule, records_per_poll, records, sample, timeout, response_bytes_max })
    }

    fn unused_keys(&mut self, source: &SourceFile, kind: SourceKindFile) {
        use SourceKindFile::{File, Generator, Http, None, RandomUser};
        fn at<T>(written: &Option<Written<T>>) -> Option<Range<usize>> {
            written.as_ref().map(|written| written.span.clone())
        }
        let uses: [Use<'_>; 22] = [
            ("every", at(&source.every), &[RandomUser, Http, File, Generator]),
            ("cron", at(&source.cron), &[RandomUser, Http, File, Generator]),
            ("for", at(&source.run_for), &[RandomUser, Http, File, Generator]),
            ("jitter", at(&source.jitter), &[RandomUser, Http, File, Generator]),
            ("records-per-poll", at(&source.records_per_poll), &[RandomUser, Http, File, Generator]),
            ("records", at(&source.records), &[RandomUser, Http, File, Generator]),
            ("url", at(&source.url), &[RandomUser, Http]),
            ("seed", at(&source.seed), &[RandomUser, Generator]),
            ("nat", at(&source.nat), &[RandomUser]),
            ("gender", at(&source.gender), &[RandomUser]),
            ("inc", at(&source.inc), &[RandomUser]),
            ("exc", at(&source.exc), &[RandomUser]),
            ("method", at(&source.method), &[Http]),
            ("headers", at(&source.headers), &[Http]),
            ("query", at(&source.query), &[Http]),
            ("body", at(&source.body), &[Http]),
            ("records-at", at(&source.records_at), &[Http]),
            ("next", at(&source.next), &[Http]),
            ("path", at(&source.path), &[File]),
            ("timeout", at(&source.timeout), &[RandomUser, Http]),
            ("response-limit", at(&source.response_limit), &[RandomUser, Http]),
            ("sample", at(&source.sample), &[RandomUser, Http, File, Generator, None]),
        ];
        for (key, span, kinds) in uses {
            let Some(span) = span else { continue };
            if !kinds.contains(&kind) {
                let users: Vec<&str> = kinds.iter().map(|kind| kind_name(*kind)).collect();
                let message = format!("`{key}` does nothing in a source of kind `{}`", kind_name(kind));
                self.warn(code::KEY_NOT_USED, message, &span, format!("remove it; it is for {}", users.join(", ")));
            }
        }
    }

    fn schedule(&mut self, source: &SourceFile, kind: SourceKindFile) -> Schedule {
        let every = source.every.as_ref().map_or_else(
            || {
                default(units::duration(match kind {
                    SourceKindFile::Generator => defaults::EVERY_GENERATOR,
                    SourceKindFile::File => defaults::EVERY_FILE,
                    _ => defaults::EVERY,
                }))
            },
            |written| written.value.0,
        );
        let run_for = source.run_for.as_ref().map(|written| written.value.0);
        if let Some(written) = source.run_for.as_ref().filter(|written| written.value.0.is_zero()) {
            self.error(code::OUT_OF_RANGE, "a run of no time polls nothing", &written.span, "as in: for = \"5m\"");
        }
        let trigger = match &source.cron {
            None => Trigger::Every(every),
            Some(cron) => {
                if let Err(error) = cron.value.parse::<croner::Cron>() {
                    let way = "five fields (minute hour day month weekday), as in \"0 6 * * 1-5\", or @hourly, @daily, @weekly";
                    self.error(
                        code::BAD_CRON,
                        format!("`{}` is no cron pattern: {}", cron.value, lower_first(&error.to_string())),
                        &cron.span,
                        way,
                    );
                } else if run_for.is_none() {
                    self.error(
                        code::KEYS_CONFLICT,
                        "`cron` starts runs that never end",
                        &cron.span,
                        "say how long a run polls: for = \"5m\"",
                    );
                }
                Trigger::Cron { pattern: cron.value.clone(), every }
            }
        };
        let jitter = source.jitter.as_ref().map_or(Duration::ZERO, |written| written.value.0);
        Schedule { trigger, run_for, jitter }
    }

    fn randomuser(&mut self, source: SourceFile, records_per_poll: u32) -> Option<RandomUserPlan> {
        if let Some(written) = &source.records_per_poll
            && records_per_poll > RANDOMUSER_RESULTS_MAX
        {
            let message = format!("the API gives at most 5,000 users at once; asked for {records_per_poll} it gives 1");
            self.error(code::RESULTS_TOO_MANY, message, &written.span, "records-per-poll = 5000");
        }
        let seed = seed_of(&source);
        if let Some(written) = &source.seed {
            self.seed(written);
        }
        let nat = source
            .nat
            .map(|list| self.words(list.value, &NATIONALITIES, code::UNKNOWN_NATIONALITY, "the API knows no nationality"))
            .unwrap_or_default();
        let inc_span = source.inc.as_ref().map(|list| list.span.clone());
        let exc_span = source.exc.as_ref().map(|list| list.span.clone());
        let inc = source
            .inc
            .map(|list| self.words(list.value, &USER_FIELDS, code::UNKNOWN_USER_FIELD, "a user has no field"))
            .unwrap_or_default();
        let exc = source
            .exc
            .map(|list| self.words(list.value, &USER_FIELDS, code::UNKNOWN_USER_FIELD, "a user has no field"))
            .unwrap_or_default();
        if let (Some(_), Some(exc)) = (&inc_span, &exc_span) {
            self.error(code::KEYS_CONFLICT, "`inc` and `exc` both say which fields come", exc, "keep one of them");
        }
        if let Some(gender) = &source.gender {
            let way = "it works, but costs the users that are left out; remove the key to keep all";
            let message = "the API ignores `gender` beside a seed: users are filtered after the fetch, and polls bring fewer";
            self.warn(code::GENDER_BESIDE_SEED, message, &gender.span, way);
            if exc.iter().any(|name| name == "gender") || (!inc.is_empty() && !inc.iter().any(|name| name == "gender")) {
                let span = inc_span.or(exc_span).unwrap_or(gender.span.clone());
                self.error(
                    code::KEYS_CONFLICT,
                    "without the field `gender` users cannot be filtered by it",
                    &span,
                    "let `gender` come",
                );
            }
        }
        let url = match &source.url {
            None => url::Url::parse(defaults::RANDOMUSER_URL).ok()?,
            Some(written) => {
                let url = self.url(written)?;
                let ours = ["results", "seed", "page", "nat", "gender", "inc", "exc", "format"];
                if let Some((name, _)) = url.query_pairs().find(|(name, _)| ours.contains(&&**name)) {
                    let way = "use the keys of [source]: records-per-poll, seed, nat, gender, inc, exc";
                    self.error(code::KEYS_CONFLICT, format!("`{name}` in the address is set by the source"), &written.span, way);
                }
                url
            }
        };
        Some(RandomUserPlan {
            url,
            seed,
            nat,
            gender: source.gender.map(|gender| gender_name(gender.value).to_owned()),
            inc,
            exc,
        })
    }

    fn seed(&mut self, written: &Written<String>) {
        let seed = written.value.as_str();
        if seed.is_empty() {
            self.error(
                code::SEED_TRAP,
                "with an empty seed the API gives other users at each request",
                &written.span,
                "seed = \"tidemill\"",
            );
        } else if seed.ends_with(|c: char| c.is_ascii_digit()) {
            let bare = seed.trim_end_matches(|c: char| c.is_ascii_digit());
            let message = format!(
                "seed `{seed}` ends in a digit: its pages repeat those of `{}`",
                if bare.is_empty() { "another seed" } else { bare }
            );
            self.warn(
                code::SEED_TRAP,
                message,
                &written.span,
                "the API makes users from seed and page joined: end the seed in a letter",
            );
        } else if seed.chars().count() == 18 {
            let message = "a seed of exactly 18 characters fixes the nationality by its last two";
            self.warn(code::SEED_TRAP, message, &written.span, "take one character more or less");
        }
    }

    /// Words of a list of which the service would ignore an unknown one silently. In the service's own spelling.
    fn words(&mut self, list: Vec<Written<String>>, known: &[&str], code: &'static str, message: &str) -> Vec<String> {
        let mut words = Vec::new();
        for word in list {
            match known.iter().find(|known| known.eq_ignore_ascii_case(&word.value)) {
                Some(known) => words.push((*known).to_owned()),
                None => {
                    let unknown = Diagnostic::error(code, format!("{message} `{}`, and would ignore it silently", word.value));
                    self.found
                        .push(unknown.at(self.texts.place(word.span.clone())).did_you_mean(&word.value, known.iter().copied()));
                }
            }
        }
        words
    }

    pub(super) fn url(&mut self, written: &Written<String>) -> Option<url::Url> {
        match url::Url::parse(&written.value) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                self.error(
                    code::BAD_URL,
                    format!("`{}` is not asked over HTTP", url.scheme()),
                    &written.span,
                    "an address starts with https:// or http://",
                );
                None
            }
            Ok(url) if url.password().is_some() => {
                let way = "remove it, and send it in a header: headers = { authorization = { env = \"NAME\" } }";
                let message = "a password in an address would be shown in logs and on the page";
                let place = self.texts.place(written.span.clone());
                self.found.push(Diagnostic::error(code::BAD_SECRET, message).at(place).hide().help(way));
                None
            }
            Ok(url) => Some(url),
            Err(error) => {
                self.error(
                    code::BAD_URL,
                    format!("`{}` is no URL: {error}", written.value),
                    &written.span,
                    "as in: url = \"https://example.com/api\"",
                );
                None
            }
        }
    }

    fn file(&mut self, source: SourceFile, span: Range<usize>) -> Option<FilePlan> {
        match source.path {
            Some(path) => Some(FilePlan { path: self.folder.join(path.value) }),
            None if self.removed.contains("source.path") => None,
            None => {
                self.error(
                    code::MISSING_KEY,
                    "missing key `path` in [source] of kind `file`",
                    &span,
                    "add it: path = \"users.ndjson\"",
                );
                None
            }
        }
    }
}

fn seed_of(source: &SourceFile) -> String {
    source.seed.as_ref().map_or_else(|| defaults::SEED.to_owned(), |written| written.value.clone())
}

fn gender_name(gender: Gender) -> &'static str {
    match gender {
        Gender::Female => "female",
        Gender::Male => "male",
    }
}

fn kind_name(kind: SourceKindFile) -> &'static str {
    match kind {
        SourceKindFile::RandomUser => "randomuser",
        SourceKindFile::Http => "http",
        SourceKindFile::File => "file",
        SourceKindFile::Generator => "generator",
        SourceKindFile::None => "none",
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
