//! What the service answers to a request that goes well, with all that it replaces or ignores silently.
//!
//! Its ages are counted from the day of the request; ours stay the same.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use url::Url;

use crate::schedule::chance;
use crate::source::generator::{Gender, Seed, nation_codes};

pub const VERSION: &str = "1.4";
const RESULTS_MAX: u64 = 5_000;
const PAGE_MAX: u64 = 10_000;
/// A seed of this length carries a nationality in its last two characters.
const NATIONAL_SEED_CHARS: usize = 18;

/// A request for users, read as the service reads it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub results: u32,
    pub page: u64,
    seed: String,
    nat: Vec<String>,
    /// Only without a seed: with one the service ignores it.
    gender: Option<Gender>,
    inc: Option<Vec<String>>,
    exc: Vec<String>,
    info: bool,
}

impl Request {
    /// `None`: no path of the API, or a version that it does not have.
    pub fn of(url: &Url) -> Option<Request> {
        let path = url.path().trim_end_matches('/');
        if path != "/api" && path.strip_prefix("/api/") != Some(VERSION) {
            return None;
        }
        // Only the last of a repeated parameter counts.
        let parameter = |name: &str| url.query_pairs().filter(|(other, _)| other == name).last().map(|(_, value)| value);
        let list = |name: &str| parameter(name).map(|value| words(&value)).filter(|words| !words.is_empty());
        let number = |name: &str, fits: &dyn Fn(u64) -> bool| {
            parameter(name).and_then(|value| value.parse().ok()).filter(|value| fits(*value)).unwrap_or(1)
        };
        let seed = parameter("seed").filter(|seed| !seed.is_empty()).map(Cow::into_owned);
        let gender = match parameter("gender").as_deref() {
            Some("female") => Some(Gender::Female),
            Some("male") => Some(Gender::Male),
            _ => None,
        };
        Some(Request {
            results: number("results", &|results| (1..=RESULTS_MAX).contains(&results)) as u32,
            page: number("page", &|page| page <= PAGE_MAX),
            gender: gender.filter(|_| seed.is_none()),
            seed: seed.unwrap_or_else(|| format!("{:016x}", (chance() * u64::MAX as f64) as u64)),
            nat: list("nat").unwrap_or_default(),
            inc: list("inc"),
            exc: list("exc").unwrap_or_default(),
            info: parameter("noinfo").is_none(),
        })
    }

    pub fn body(&self) -> Vec<u8> {
        self.body_of(&self.users(), self.page)
    }

    /// The answer with these users, telling this page.
    pub fn body_of(&self, users: &[Vec<u8>], page: u64) -> Vec<u8> {
        let mut body = br#"{"results":["#.to_vec();
        body.extend_from_slice(&users.join(&b','));
        body.push(b']');
        if self.info {
            let info = json!({ "seed": self.told_seed(), "results": users.len(), "page": page, "version": VERSION });
            body.extend_from_slice(format!(r#","info":{info}"#).as_bytes());
        }
        body.push(b'}');
        body
    }

    pub fn users(&self) -> Vec<Vec<u8>> {
        // The generator is seeded by seed and page joined: `a` page 11 and `a1` page 1 are the same users.
        let (seed, nation) = self.national_seed();
        let mut drawn = Seed::new(&format!("{seed}{}", self.page));
        drawn = match nation {
            Some(code) => drawn.of_nations([code]),
            None => drawn.of_nations(self.nat.iter().map(String::as_str)),
        };
        if let Some(gender) = self.gender {
            drawn = drawn.of_gender(gender);
        }
        (0..u64::from(self.results))
            .map(|number| {
                let mut user = Vec::with_capacity(1_280);
                drawn.write_user(number, &mut user);
                self.chosen(user)
            })
            .collect()
    }

    /// With the fields that `inc` and `exc` leave; their values stay the same.
    fn chosen(&self, user: Vec<u8>) -> Vec<u8> {
        if self.inc.is_none() && self.exc.is_empty() {
            return user;
        }
        let mut fields: Map<String, Value> = serde_json::from_slice(&user).expect("the generator writes objects");
        fields.retain(|name, _| self.inc.as_ref().is_none_or(|inc| inc.contains(name)) && !self.exc.contains(name));
        Value::Object(fields).to_string().into_bytes()
    }

    /// The part of the seed that seeds, and the nationality that an 18 characters long one fixes.
    fn national_seed(&self) -> (&str, Option<&'static str>) {
        if self.seed.chars().count() != NATIONAL_SEED_CHARS || !self.seed.is_ascii() {
            return (&self.seed, None);
        }
        let (seed, digits) = self.seed.split_at(NATIONAL_SEED_CHARS - 2);
        let nation = usize::from_str_radix(digits, 16).ok().and_then(|index| nation_codes().nth(index));
        if nation.is_some() { (seed, nation) } else { (&self.seed, None) }
    }

    /// The seed as `info` tells it: with one nationality two hex digits longer than it was sent.
    fn told_seed(&self) -> String {
        let index = match self.nat.as_slice() {
            [code] => nation_codes().position(|known| known.eq_ignore_ascii_case(code)),
            _ => None,
        };
        index.map_or_else(|| self.seed.clone(), |index| format!("{}{index:02x}", self.seed))
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()).collect()
}
