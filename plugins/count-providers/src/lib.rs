//! Counts the users of each e-mail provider, in state that the host keeps.

use tidemill_plugin::prelude::*;

fields! {
    CountProviders
    reads User in Users { email: Text }
    writes Row { email_provider: Text, provider_count: Int }
}

struct CountProviders;

impl Fields for CountProviders {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<CountProviders, String> {
        Ok(CountProviders)
    }

    fn row(&mut self, user: User<'_>, row: &mut Row) -> Decision {
        let Some((_, provider)) = user.email.rsplit_once('@') else {
            return Err(format!("`{}` is not an e-mail address", user.email).into());
        };
        let before = state::get(provider.as_bytes())?.and_then(|value| value.try_into().ok()).map_or(0, i64::from_le_bytes);
        let count = before + 1;
        state::set(provider.as_bytes(), &count.to_le_bytes())?;
        row.email_provider.push(provider);
        row.provider_count.push(count);
        Ok(Emit)
    }
}
