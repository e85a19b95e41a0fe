//! Adds what can be told from a user's own fields: full name, e-mail provider, age band, year of registration.

use serde::Deserialize;
use tidemill_plugin::prelude::*;

fields! {
    EnrichUser
    reads User in Users {
        first_name: Text, last_name: Text, email: Text, dob: Timestamp, registered_date: Timestamp,
        written: Timestamp = "@timestamp",
    }
    writes Row { full_name: Text, email_provider: Text, age_band: Text, registration_year: Int }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Settings {
    /// Where the bands of age begin, ascending.
    age_bands: Vec<i64>,
    /// The day on which ages are counted; by default the record's own, so that a redelivery gives the same.
    as_of: Option<Date>,
    /// Other domains are rejected; empty allows all.
    domain_allow_list: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { age_bands: vec![18, 30, 45, 60], as_of: None, domain_allow_list: Vec::new() }
    }
}

struct EnrichUser {
    settings: Settings,
    bands: Vec<String>,
}

impl Fields for EnrichUser {
    type Settings = Settings;

    fn start(settings: Settings) -> Result<EnrichUser, String> {
        if settings.age_bands.is_empty() || !settings.age_bands.is_sorted_by(|a, b| a < b) {
            return Err("setting `age-bands`: ages in ascending order, such as `18, 30, 45`".into());
        }
        let bands = EnrichUser::bands(&settings.age_bands);
        Ok(EnrichUser { settings, bands })
    }

    fn row(&mut self, user: User<'_>, row: &mut Row) -> Decision {
        let Some((_, provider)) = user.email.rsplit_once('@') else {
            return Err(format!("`{}` is not an e-mail address", user.email).into());
        };
        let allowed = &self.settings.domain_allow_list;
        if !allowed.is_empty() && !allowed.iter().any(|domain| domain == provider) {
            return Err(format!("e-mail domain `{provider}` is not on the list").into());
        }
        let day = self.settings.as_of.unwrap_or_else(|| Date::of_timestamp(user.written));
        let age = day.years_since(Date::of_timestamp(user.dob));
        row.full_name.start().add(user.first_name).add(" ").add(user.last_name);
        row.email_provider.push(provider);
        row.age_band.push(&self.bands[self.settings.age_bands.partition_point(|from| *from <= age)]);
        row.registration_year.push(Date::of_timestamp(user.registered_date).year);
        Ok(Emit)
    }
}

impl EnrichUser {
    /// `under 18`, `18-29`, …, `60+`: made once, for there are few.
    fn bands(ages: &[i64]) -> Vec<String> {
        let first = format!("under {}", ages[0]);
        let between = ages.windows(2).map(|pair| format!("{}-{}", pair[0], pair[1] - 1));
        let last = format!("{}+", ages[ages.len() - 1]);
        std::iter::once(first).chain(between).chain(std::iter::once(last)).collect()
    }
}
