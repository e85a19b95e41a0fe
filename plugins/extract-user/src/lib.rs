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

    fn columns(&mut self, users: &Users<'_>, row: &mut Row) {
        row.id.copy(&users.uuid);
        row.first_name.copy(&users.first);
        row.last_name.copy(&users.last);
        row.gender.copy(&users.gender);
        row.post_code.copy(&users.postcode);
        row.email.copy(&users.email);
        row.username.copy(&users.username);
        row.registered_date.copy(&users.registered);
        row.phone.copy(&users.phone);
        row.picture.copy(&users.picture);
        row.dob.copy(&users.born);
    }

    fn row(&mut self, user: User<'_>, row: &mut Row) -> Decision {
        let mut address = row.address.start();
        address.add(user.street_number).add(" ").add(user.street);
        address.add(", ").add(user.city).add(", ").add(user.state).add(", ").add(user.country);
        drop(address);
        Ok(Emit)
    }
}
