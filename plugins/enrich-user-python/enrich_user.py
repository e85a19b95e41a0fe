"""Adds what can be told from a user's own fields: full name, e-mail provider, age band, year of registration."""

from bisect import bisect_right
from datetime import date, datetime, timedelta

import tidemill

EPOCH = datetime(1970, 1, 1)


def day(timestamp):
    return (EPOCH + timedelta(milliseconds=timestamp)).date()


class Fields(tidemill.Fields):
    reads = {
        "first_name": tidemill.TEXT,
        "last_name": tidemill.TEXT,
        "email": tidemill.TEXT,
        "dob": tidemill.TIMESTAMP,
        "registered_date": tidemill.TIMESTAMP,
        "@timestamp": tidemill.TIMESTAMP,
    }
    writes = {
        "full_name": tidemill.TEXT,
        "email_provider": tidemill.TEXT,
        "age_band": tidemill.TEXT,
        "registration_year": tidemill.INT,
    }

    def setup(self, settings):
        bands = settings.pop("age-bands", "18, 30, 45, 60")
        as_of = settings.pop("as-of", None)
        allowed = settings.pop("domain-allow-list", "")
        super().setup(settings)
        try:
            self.ages = [int(age) for age in bands.split(",")]
            self.as_of = as_of and date.fromisoformat(as_of)
        except ValueError as error:
            raise tidemill.Refuse(str(error))
        if self.ages != sorted(set(self.ages)):
            raise tidemill.Refuse("setting `age-bands`: ages in ascending order, such as `18, 30, 45`")
        between = [f"{low}-{high - 1}" for low, high in zip(self.ages, self.ages[1:])]
        self.bands = [f"under {self.ages[0]}", *between, f"{self.ages[-1]}+"]
        self.allowed = {domain.strip() for domain in allowed.split(",") if domain.strip()}

    def row(self, first_name, last_name, email, dob, registered, written):
        _, at, provider = email.rpartition("@")
        if not at:
            raise tidemill.Reject(f"`{email}` is not an e-mail address")
        if self.allowed and provider not in self.allowed:
            raise tidemill.Reject(f"e-mail domain `{provider}` is not on the list")
        born, today = day(dob), self.as_of or day(written)
        age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return [f"{first_name} {last_name}", provider, self.bands[bisect_right(self.ages, age)], day(registered).year]
