//! The baseline: what a person writes by hand to do what `extract-user` and `enrich-user` do, with typed serde and nothing between.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::{Batch, Buffer, Column, Columns, Values};

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    login: Login<'a>,
    #[serde(borrow)]
    name: Name<'a>,
    #[serde(borrow)]
    gender: Cow<'a, str>,
    #[serde(borrow)]
    location: Location<'a>,
    #[serde(borrow)]
    email: Cow<'a, str>,
    registered: Dated,
    #[serde(borrow)]
    phone: Cow<'a, str>,
    #[serde(borrow)]
    picture: Picture<'a>,
    dob: Dated,
}

#[derive(Deserialize)]
struct Login<'a> {
    #[serde(borrow)]
    uuid: Cow<'a, str>,
    #[serde(borrow)]
    username: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    first: Cow<'a, str>,
    #[serde(borrow)]
    last: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Location<'a> {
    #[serde(borrow)]
    street: Street<'a>,
    #[serde(borrow)]
    city: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    country: Cow<'a, str>,
    #[serde(borrow)]
    postcode: Option<Postcode<'a>>,
}

#[derive(Deserialize)]
struct Street<'a> {
    number: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Picture<'a> {
    #[serde(borrow)]
    medium: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Dated {
    #[serde(deserialize_with = "timestamp")]
    date: Timestamp,
}

fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Timestamp;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an RFC 3339 time")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text)
}

/// A postcode is a number for most nations and text for some.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Postcode<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Postcode<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Postcode<'a>, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Postcode<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or text")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Postcode<'de>, E> {
                Ok(Postcode(number.to_string().into()))
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Postcode<'de>, E> {
                Ok(Postcode(text.into()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Postcode<'de>, E> {
                Ok(Postcode(text.to_owned().into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What leaves both stages, field by field.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) first_name: Cow<'a, str>,
    pub(super) last_name: Cow<'a, str>,
    pub(super) gender: Cow<'a, str>,
    pub(super) address: String,
    pub(super) post_code: Option<Postcode<'a>>,
    pub(super) email: Cow<'a, str>,
    pub(super) username: Cow<'a, str>,
    #[serde(serialize_with = "rfc3339")]
    pub(super) registered_date: Timestamp,
    pub(super) phone: Cow<'a, str>,
    pub(super) picture: Cow<'a, str>,
    #[serde(serialize_with = "rfc3339")]
    pub(super) dob: Timestamp,
    pub(super) full_name: String,
    pub(super) email_provider: String,
    pub(super) age_band: &'static str,
    pub(super) registration_year: i16,
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Where the bands of age begin, and their names: the defaults of `enrich-user`.
const AGE_BANDS: [i16; 4] = [18, 30, 45, 60];
const AGE_BAND_NAMES: [&str; 5] = ["under 18", "18-29", "30-44", "45-59", "60+"];

fn day(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

/// What both stages do to one user; an error is what a stage rejects a record with.
pub(super) fn row<'a>(payload: &'a [u8], written_ms: i64) -> Result<Row<'a>, String> {
    let user: User<'a> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let Location { street, city, state, country, postcode } = user.location;
    let (Some((_, provider)), Ok(written)) = (user.email.rsplit_once('@'), Timestamp::from_millisecond(written_ms)) else {
        return Err(format!("`{}` is not an e-mail address", user.email));
    };
    let (today, born) = (day(written), day(user.dob.date));
    let not_yet = (today.month(), today.day()) < (born.month(), born.day());
    let age = today.year() - born.year() - i16::from(not_yet);
    Ok(Row {
        address: format!("{} {}, {city}, {state}, {country}", street.number, street.name),
        full_name: format!("{} {}", user.name.first, user.name.last),
        email_provider: provider.to_owned(),
        age_band: AGE_BAND_NAMES[AGE_BANDS.partition_point(|from| *from <= age)],
        registration_year: day(user.registered.date).year(),
        id: user.login.uuid,
        first_name: user.name.first,
        last_name: user.name.last,
        gender: user.gender,
        post_code: postcode,
        email: user.email,
        username: user.login.username,
        registered_date: user.registered.date,
        phone: user.phone,
        picture: user.picture.medium,
        dob: user.dob.date,
    })
}

/// Parses each user, computes its row and writes it as a line of JSON.
pub fn to_json(batch: &Batch, out: &mut Vec<u8>) -> Result<(), String> {
    for record in batch.iter() {
        let row = row(record.value.unwrap_or_default(), record.timestamp)?;
        serde_json::to_writer(&mut *out, &row).map_err(|error| error.to_string())?;
        out.push(b'\n');
    }
    Ok(())
}

/// Parses each user, computes its row and fills the columns that the chain fills.
pub fn to_columns(batch: &Batch) -> Result<Columns, String> {
    const TEXTS: [&str; 13] = [
        "id",
        "first_name",
        "last_name",
        "gender",
        "address",
        "post_code",
        "email",
        "username",
        "phone",
        "picture",
        "full_name",
        "email_provider",
        "age_band",
    ];
    let rows = batch.rows();
    let mut texts: [Buffer; 13] = std::array::from_fn(|_| Buffer::with_capacity(rows, 0));
    let mut without_post_code = Vec::new();
    let (mut registered, mut born, mut years) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
    for (at, record) in batch.iter().enumerate() {
        let row = row(record.value.unwrap_or_default(), record.timestamp)?;
        if row.post_code.is_none() {
            without_post_code.push(at as u32);
        }
        let post_code = row.post_code.as_ref().map_or("", |code| &code.0);
        let values: [&str; 13] = [
            &row.id,
            &row.first_name,
            &row.last_name,
            &row.gender,
            &row.address,
            post_code,
            &row.email,
            &row.username,
            &row.phone,
            &row.picture,
            &row.full_name,
            &row.email_provider,
            row.age_band,
        ];
        texts.iter_mut().zip(values).for_each(|(buffer, value)| buffer.push(value.as_bytes()));
        registered.push(row.registered_date.as_millisecond());
        born.push(row.dob.as_millisecond());
        years.push(i64::from(row.registration_year));
    }
    let mut columns = Columns::default();
    for (name, buffer) in TEXTS.into_iter().zip(texts) {
        let nulls = if name == "post_code" { std::mem::take(&mut without_post_code) } else { Vec::new() };
        columns.set(name, Column { values: Values::Text(buffer), nulls });
    }
    let column = |values| Column { values, nulls: Vec::new() };
    columns.set("registered_date", column(Values::Timestamps(registered)));
    columns.set("dob", column(Values::Timestamps(born)));
    columns.set("registration_year", column(Values::Ints(years)));
    Ok(columns)
}
