//! `[source]` of kind `http`: where it asks, with which secrets, and for which page next.

use std::ops::Range;

use super::code;
use super::defaults;
use super::file::*;
use super::plan::{HttpPlan, NextPage, Secret};
use super::resolve::{Resolver, plain};
use super::written::{Named, Written};

impl Resolver<'_> {
    pub(super) fn http(&mut self, source: SourceFile, span: Range<usize>) -> Option<HttpPlan> {
        let url = match &source.url {
            Some(written) => self.url(written),
            None if self.removed.contains("source.url") => None,
            None => {
                self.error(
                    code::MISSING_KEY,
                    "missing key `url` in [source] of kind `http`",
                    &span,
                    "add it: url = \"https://example.com/api\"",
                );
                None
            }
        };
        let method = source.method.map_or(Method::Get, |written| written.value);
        if let (Method::Get, Some(body)) = (method, &source.body) {
            self.warn(
                code::KEY_NOT_USED,
                "most services ignore the body of a GET",
                &body.span,
                "method = \"POST\", or remove the body",
            );
        }
        let headers = source.headers.map(|headers| self.headers(headers.value)).unwrap_or_default();
        let query_names: Vec<Written<String>> =
            source.query.iter().flat_map(|query| query.value.0.iter().map(|(name, _)| name.clone())).collect();
        let query = source.query.map(|query| self.secrets(query.value)).unwrap_or_default();
        let next = source.next.map_or(Some(NextPage::Same), |next| self.next(next, &query_names));
        if let Some(path) = &source.records_at {
            self.payload_field(path);
        }
        Some(HttpPlan {
            url: url?,
            method: match method {
                Method::Get => "GET".to_owned(),
                Method::Post => "POST".to_owned(),
            },
            headers,
            query: query.into_iter().collect(),
            body: source.body.map(|body| body.value),
            records_at: source.records_at.map(|path| path.value).unwrap_or_default(),
            next: next?,
        })
    }

    pub(super) fn headers(&mut self, headers: Named<Written<TextOrSecret>>) -> Vec<(String, Secret)> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        for (index, (name, value)) in headers.0.iter().enumerate() {
            if name.value.is_empty() || !name.value.chars().all(token) {
                self.error(
                    code::BAD_HEADER,
                    format!("`{}` is no name of a header", name.value),
                    &name.span,
                    "letters, digits and `-`",
                );
            }
            if headers.0[..index].iter().any(|(other, _)| other.value.eq_ignore_ascii_case(&name.value)) {
                self.error(
                    code::DUPLICATE_NAME,
                    format!("header `{}` is set twice", name.value),
                    &name.span,
                    "upper and lower case are the same",
                );
            }
            if let TextOrSecret::Text(text) = &value.value
                && text.chars().any(|c| c.is_control() && c != '\t')
            {
                self.error(
                    code::BAD_HEADER,
                    format!("header `{}` has a control character in its value", name.value),
                    &value.span,
                    "a header is one line",
                );
            }
        }
        self.secrets(headers)
    }

    pub(super) fn secrets(&mut self, values: Named<Written<TextOrSecret>>) -> Vec<(String, Secret)> {
        let mut resolved = Vec::new();
        for (name, value) in values.0 {
            resolved.extend(self.text_or_secret(&value).map(|secret| (name.value, secret)));
        }
        resolved
    }

    pub(super) fn secret(&mut self, secret: &SecretFile, span: &Range<usize>) -> Option<Secret> {
        match (&secret.env, &secret.file) {
            (Some(name), None) => {
                let value = (self.lookup)(&name.value);
                if value.is_none() {
                    let message = format!("the environment has no `{}`, which holds a secret", name.value);
                    self.error(code::UNRESOLVED_VARIABLE, message, &name.span, format!("set {}", name.value));
                }
                value.map(Secret::from)
            }
            (None, Some(path)) => match std::fs::read_to_string(self.folder.join(&path.value)) {
                Ok(text) => Some(Secret::from(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => {
                    let message = format!("read secret `{}`: {}", path.value, plain(&error));
                    self.error(code::BAD_SECRET, message, &path.span, "a secret's file is relative to the pipeline file");
                    None
                }
            },
            _ => {
                self.error(code::BAD_SECRET, "a secret is in one place", span, "write { env = \"NAME\" } or { file = \"path\" }");
                None
            }
        }
    }

    fn next(&mut self, next: Written<NextFile>, query: &[Written<String>]) -> Option<NextPage> {
        let Written { value: next, span } = next;
        let forms =
            "{ page = \"page\" }, { offset = \"skip\" }, { token = \"cursor\", at = \"meta.next\" } or { link = \"links.next\" }";
        let ways = [&next.page, &next.offset, &next.token, &next.link];
        if ways.iter().filter(|way| way.is_some()).count() != 1 {
            self.error(code::BAD_NEXT, "`next` says in one way how the next page is asked for", &span, format!("one of {forms}"));
            return None;
        }
        for (written, needs, used) in [
            (next.first.as_ref().map(|first| first.span.clone()), "page", next.page.is_some()),
            (next.at.as_ref().map(|at| at.span.clone()), "token", next.token.is_some()),
        ] {
            if let (Some(span), false) = (written, used) {
                self.error(code::BAD_NEXT, format!("this goes with `{needs}`"), &span, format!("one of {forms}"));
            }
        }
        if let Some(parameter) = ways.iter().take(3).find_map(|way| way.as_ref())
            && let Some(fixed) = query.iter().find(|name| name.value == parameter.value)
        {
            let message = format!("the query parameter `{}` is set by `next` too", fixed.value);
            self.error(
                code::KEYS_CONFLICT,
                message,
                &fixed.span,
                "remove it from `query`; { page = …, first = N } sets the first page",
            );
        }
        if let Some(path) = next.at.as_ref().or(next.link.as_ref()) {
            self.payload_field(path);
        }
        match (next.page, next.offset, next.token, next.link) {
            (Some(page), ..) => Some(NextPage::Page {
                parameter: page.value,
                first: next.first.map_or(defaults::FIRST_PAGE, |first| first.value),
            }),
            (_, Some(offset), ..) => Some(NextPage::Offset { parameter: offset.value }),
            (_, _, Some(token), _) => match next.at {
                Some(at) => Some(NextPage::Token { parameter: token.value, at: at.value }),
                None => {
                    self.error(
                        code::BAD_NEXT,
                        "`token` needs `at`: where in the response its value is",
                        &token.span,
                        "add it: at = \"meta.next\"",
                    );
                    None
                }
            },
            (_, _, _, link) => link.map(|link| NextPage::Link { at: link.value }),
        }
    }
}
