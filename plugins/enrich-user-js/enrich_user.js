// Adds what can be told from a user's own fields: full name, e-mail provider, age band, year of registration.

import { Refuse, Reject, fields as plugin } from "../sdk/js/tidemill.js";

const list = (text) => text.split(",").map((item) => item.trim()).filter((item) => item !== "");
const day = (timestamp) => new Date(timestamp);

function setup({ "age-bands": bands = "18, 30, 45, 60", "as-of": asOf, "domain-allow-list": allowed = "", ...unknown }) {
    for (const name in unknown) throw new Refuse(`unknown setting \`${name}\``);
    const ages = list(bands).map(Number);
    if (ages.length === 0 || !ages.every((age, at) => Number.isInteger(age) && !(age <= ages[at - 1]))) {
        throw new Refuse("setting `age-bands`: ages in ascending order, such as `18, 30, 45`");
    }
    const date = asOf === undefined ? null : new Date(`${asOf}T00:00:00Z`);
    if (date !== null && Number.isNaN(date.getTime())) throw new Refuse(`\`${asOf}\` is not a date such as 2026-01-31`);
    const between = ages.slice(1).map((age, at) => `${ages[at]}-${age - 1}`);
    const names = [`under ${ages[0]}`, ...between, `${ages.at(-1)}+`];
    return { ages, names, asOf: date, allowed: new Set(list(allowed)) };
}

function age(born, today) {
    const years = today.getUTCFullYear() - born.getUTCFullYear();
    const months = today.getUTCMonth() - born.getUTCMonth();
    const before = months < 0 || (months === 0 && today.getUTCDate() < born.getUTCDate());
    return before ? years - 1 : years;
}

export const fields = plugin({
    reads: {
        first_name: "text",
        last_name: "text",
        email: "text",
        dob: "timestamp",
        registered_date: "timestamp",
        "@timestamp": "timestamp",
    },
    writes: { full_name: "text", email_provider: "text", age_band: "text", registration_year: "int" },
    setup,
    row({ ages, names, asOf, allowed }, firstName, lastName, email, dob, registered, written) {
        const at = email.lastIndexOf("@");
        if (at < 0) throw new Reject(`\`${email}\` is not an e-mail address`);
        const provider = email.slice(at + 1);
        if (allowed.size > 0 && !allowed.has(provider)) throw new Reject(`e-mail domain \`${provider}\` is not on the list`);
        const years = age(day(dob), asOf ?? day(written));
        const band = names[ages.filter((from) => from <= years).length];
        return [`${firstName} ${lastName}`, provider, band, day(registered).getUTCFullYear()];
    },
});
