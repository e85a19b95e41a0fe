//! Takes the flat fields of a user out of the nested record of the randomuser.me API.

use tidemill_plugin::prelude::*;

fields! {
    ExtractUser
    reads User in Users {
        uuid: Text = "login.uuid",
        first: Text = "name.first",
        last: Text = "name.last",
        gender: Text = "gender",
        street_number: Text = "location.street.number",
        street: Text = "location.street.name",
        city: Text = "location.city",
        state: Text = "location.state",
        country: Text = "location.country",
        postcode: Option<Text> = "location.postcode", // a number for most nations, text for some: both come as text
        email: Text = "email",
        username: Text = "login.username",
        registered: Timestamp = "registered.date",
        phone: Text = "phone",
        picture: Text = "picture.medium",
        born: Timestamp = "dob.date",
    }
    writes Row {
        id: Text, first_name: Text, last_name: Text, gender: Text, address: Text, post_code: Option<Text>, email: Text,
        username: Text, registered_date: Timestamp, phone: Text, picture: Text, dob: Timestamp,
    }
}

struct ExtractUser;

impl Fields for ExtractUser {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<ExtractUser, String> {
        Ok(ExtractUser)
    }

    fn row(&mut self, user: User<'_>, row: &mut Row) -> Decision {
        row.id.push(user.uuid);
        row.first_name.push(user.first);
        row.last_name.push(user.last);
        row.gender.push(user.gender);
        let mut address = row.address.start();
        address.add(user.street_number).add(" ").add(user.street);
        address.add(", ").add(user.city).add(", ").add(user.state).add(", ").add(user.country);
        drop(address);
        row.post_code.push(user.postcode);
        row.email.push(user.email);
        row.username.push(user.username);
        row.registered_date.push(user.registered);
        row.phone.push(user.phone);
        row.picture.push(user.picture);
        row.dob.push(user.born);
        Ok(Emit)
    }
}
