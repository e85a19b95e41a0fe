//! Made-up users: always the same, and of the API's shape.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use tidemill::source::generator::{AGES_COUNTED_IN, Gender, Seed, nation_codes};

use crate::support;

fn user(seed: &Seed, number: u64) -> Value {
    let mut text = Vec::new();
    seed.write_user(number, &mut text);
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
}

#[test]
fn a_user_belongs_to_its_seed_and_number() {
    let (seed, other) = (Seed::new("tidemill"), Seed::new("tidemilm"));
    let mut page = Vec::new();
    for number in 0..50 {
        seed.write_user(number, &mut page);
    }
    let mut alone = Vec::new();
    Seed::new("tidemill").write_user(37, &mut alone);
    assert!(page.windows(alone.len()).any(|window| window == alone), "asked alone or in a page");
    assert_ne!(user(&seed, 37), user(&other, 37));
    assert_ne!(user(&seed, 37), user(&seed, 38));
}

/// What a release has given out stays so: topics, tests and demos are built on it.
#[test]
fn the_first_user_is_what_it_was() {
    let first = user(&Seed::new("tidemill"), 0);
    let path = support::root().join("tests/sources/generator/first-user.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{first:#}\n")).unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(first, kept);
}

#[test]
fn ids_are_unique_and_version_4() {
    let seed = Seed::new("tidemill");
    let mut ids = HashSet::new();
    for number in 0..20_000 {
        let id = user(&seed, number)["login"]["uuid"].as_str().unwrap().to_owned();
        let parsed = uuid::Uuid::parse_str(&id).unwrap();
        assert_eq!((parsed.get_version_num(), parsed.get_variant()), (4, uuid::Variant::RFC4122));
        assert!(ids.insert(id));
    }
}

#[test]
fn values_vary_as_those_of_real_users_do() {
    let seed = Seed::new("tidemill");
    let users: Vec<Value> = (0..4_000).map(|number| user(&seed, number)).collect();
    let share = |holds: &dyn Fn(&Value) -> bool| users.iter().filter(|user| holds(user)).count() as f64 / users.len() as f64;
    let nations: BTreeSet<&str> = users.iter().map(|user| user["nat"].as_str().unwrap()).collect();
    assert_eq!(nations, nation_codes().collect::<BTreeSet<_>>());
    for user in &users {
        let text = matches!(user["nat"].as_str().unwrap(), "GB" | "CA" | "NO");
        assert_eq!(user["location"]["postcode"].is_string(), text, "{user}");
        let born: jiff::Timestamp = user["dob"]["date"].as_str().unwrap().parse().unwrap();
        let registered: jiff::Timestamp = user["registered"]["date"].as_str().unwrap().parse().unwrap();
        let (born, registered) = (born.to_zoned(jiff::tz::TimeZone::UTC), registered.to_zoned(jiff::tz::TimeZone::UTC));
        let day = jiff::civil::date(AGES_COUNTED_IN as i16, 1, 1);
        for (date, age) in [(born.date(), &user["dob"]["age"]), (registered.date(), &user["registered"]["age"])] {
            let years = date.until((jiff::Unit::Year, day)).unwrap().get_years();
            assert_eq!(age.as_i64().unwrap(), i64::from(years), "{user}");
        }
    }
    assert!(share(&|user| user["id"]["value"].is_null()) > 0.1);
    assert!(share(&|user| user["dob"]["date"].as_str().unwrap() < "1970") > 0.3);
    assert!(share(&|user| !user["name"]["first"].as_str().unwrap().is_ascii()) > 0.2);
    assert!((share(&|user| user["gender"] == "female") - 0.5).abs() < 0.05);
    let mut providers: BTreeMap<&str, usize> = BTreeMap::new();
    for user in &users {
        let email = user["email"].as_str().unwrap();
        assert!(email.is_ascii(), "{email}");
        *providers.entry(email.split_once('@').unwrap().1).or_default() += 1;
    }
    let mut counts: Vec<usize> = providers.values().copied().collect();
    counts.sort_unstable();
    assert!(
        counts.len() >= 10 && counts[counts.len() - 1] > 10 * counts[0],
        "some providers are far more frequent: {providers:?}"
    );
}

#[test]
fn nations_and_gender_can_be_chosen() {
    let seed = Seed::new("s").of_nations(["fr", "NO"]).of_gender(Gender::Male);
    let chosen: BTreeSet<String> = (0..200).map(|number| user(&seed, number)["nat"].to_string()).collect();
    assert_eq!(chosen.into_iter().collect::<Vec<_>>(), ["\"FR\"", "\"NO\""]);
    assert!((0..50).all(|number| user(&seed, number)["gender"] == "male"));
    let all: BTreeSet<String> =
        (0..2_000).map(|number| user(&Seed::new("s").of_nations(["fr", "xx"]), number)["nat"].to_string()).collect();
    assert_eq!(all.len(), nation_codes().count(), "an unknown one lets all come");
}

/// Names of all fields and the kinds of their values.
fn shape(path: &str, value: &Value, into: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                shape(&format!("{path}.{name}"), value, into);
            }
            "object"
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
    };
    into.entry(path.to_owned()).or_default().insert(kind);
}

#[test]
fn the_shape_is_that_of_the_api() {
    let file = support::root().join("../shared/data/randomuser-1000.json");
    let Ok(text) = std::fs::read(&file) else {
        return support::skip_or_panic("users of the real API are not here (../shared/data/randomuser-1000.json)");
    };
    let real: Value = serde_json::from_slice(&text).unwrap();
    let (mut theirs, mut ours) = (BTreeMap::new(), BTreeMap::new());
    for user in real["results"].as_array().unwrap() {
        shape("", user, &mut theirs);
    }
    for number in 0..1_000 {
        shape("", &user(&Seed::new("tidemill"), number), &mut ours);
    }
    assert_eq!(ours, theirs);
    let order = |user: &Value| user.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&user(&Seed::new("tidemill"), 0)), order(&real["results"][0]), "fields in the same order");
    let bytes: usize = (0..1_000)
        .map(|number| {
            let mut text = Vec::new();
            Seed::new("tidemill").write_user(number, &mut text);
            text.len()
        })
        .sum();
    let real_bytes = text.len();
    assert!((bytes as f64 / real_bytes as f64 - 1.0).abs() < 0.1, "{bytes} bytes, theirs {real_bytes}");
}
