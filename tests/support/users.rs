//! What `extract-user` and `enrich-user` must make of a user, computed natively from the payload with types of our own.

use jiff::tz::TimeZone;
use rusqlite::types::Value as Cell;
use serde::Deserialize;
use serde_json::Value;

use super::host::Pipeline;
use super::read::Record;
use super::verify::{Decision, Findings, Row};

/// The columns of `pipelines/users.toml`.
pub const TABLE: &str = "spark_streams.created_users";

#[derive(Deserialize)]
struct User {
    gender: String,
    name: Name,
    location: Location,
    email: String,
    login: Login,
    dob: Day,
    registered: Day,
    phone: String,
    picture: Picture,
}

#[derive(Deserialize)]
struct Name {
    first: String,
    last: String,
}

#[derive(Deserialize)]
struct Location {
    street: Street,
    city: String,
    state: String,
    country: String,
    /// A number for most nations, text for some, absent for none that we know.
    postcode: Option<Value>,
}

#[derive(Deserialize)]
struct Street {
    number: u64,
    name: String,
}

#[derive(Deserialize)]
struct Login {
    uuid: String,
    username: String,
}

#[derive(Deserialize)]
struct Day {
    #[serde(deserialize_with = "rfc_3339")]
    date: jiff::Timestamp,
}

fn rfc_3339<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<jiff::Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct Picture {
    medium: String,
}

/// A user's row, or its rejection by the host where the payload is not a user.
pub fn decide(record: &Record) -> Decision {
    let user = record.value.as_deref().map(serde_json::from_slice::<User>);
    let Some(Ok(user)) = user else { return Decision::Rejected(None, String::new()) };
    let text = |text: &str| Cell::Text(text.to_owned());
    let date = |at: jiff::Timestamp| at.to_zoned(TimeZone::UTC).date();
    let street = &user.location.street;
    let address =
        format!("{} {}, {}, {}, {}", street.number, street.name, user.location.city, user.location.state, user.location.country);
    let post_code = match &user.location.postcode {
        None | Some(Value::Null) => Cell::Null,
        Some(Value::String(code)) => text(code),
        Some(other) => text(&other.to_string()),
    };
    let seen = jiff::Timestamp::from_millisecond(record.timestamp).expect("the record has a time");
    let age = (date(seen) - date(user.dob.date)).total((jiff::Unit::Year, date(user.dob.date))).expect("an age").floor() as i64;
    let band = match age {
        ..18 => "under 18",
        18..30 => "18-29",
        30..45 => "30-44",
        45..60 => "45-59",
        60.. => "60+",
    };
    let provider = user.email.rsplit('@').next().unwrap_or_default();
    let cells = [
        ("id", text(&user.login.uuid)),
        ("first_name", text(&user.name.first)),
        ("last_name", text(&user.name.last)),
        ("gender", text(&user.gender)),
        ("address", text(&address)),
        ("post_code", post_code),
        ("email", text(&user.email)),
        ("username", text(&user.login.username)),
        ("registered_date", Cell::Integer(user.registered.date.as_millisecond())),
        ("phone", text(&user.phone)),
        ("picture", text(&user.picture.medium)),
        ("dob", Cell::Integer(user.dob.date.as_millisecond())),
        ("full_name", text(&format!("{} {}", user.name.first, user.name.last))),
        ("email_provider", text(provider)),
        ("age_band", text(band)),
        ("registration_year", Cell::Integer(date(user.registered.date).year().into())),
    ];
    Decision::Rows(vec![cells.map(|(name, cell)| (name.to_owned(), cell)).into_iter().collect::<Row>()])
}

/// 5,000 made-up users through the flagship, wherever its topic and table are: each arrives once, with every column as computed here.
pub fn five_thousand_arrive(pipeline: &Pipeline, compare: &dyn Fn() -> Findings) {
    let pipeline = pipeline
        .clone()
        .set("source.kind=generator")
        .set("source.every=0s")
        .set("source.records-per-poll=500")
        .set("source.records=5000")
        .set("topic.partitions=2");
    let answer = pipeline.run_until_idle().ok();
    let counts = ["ingested", "delivered", "dropped", "rejected"].map(|name| answer.count(name));
    assert_eq!(counts, [5_000, 5_000, 0, 0], "{}", answer.envelope);
    let findings = compare();
    findings.assert_clean();
    assert_eq!((findings.records, findings.rows), (5_000, 5_000));
    // Nothing is left to do for a second run.
    let again = pipeline.run_until_idle().ok();
    assert_eq!(["ingested", "delivered"].map(|name| again.count(name)), [0, 0]);
    compare().assert_clean();
    assert_eq!(pipeline.verify(), Vec::<String>::new());
}
