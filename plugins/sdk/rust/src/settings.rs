//! Settings: texts by name in the pipeline file, read by serde into the plugin's own type.
//!
//! Numbers and booleans are parsed, a list is separated by commas, a unit variant is its name.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::fields_world::wasi::config::store;

/// Of a plugin without settings: any is refused, so that a slip is seen.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

pub(crate) fn read<T: DeserializeOwned>() -> Result<T, String> {
    let settings = store::get_all().map_err(|error| format!("read the settings: {error:?}"))?;
    parse(&settings)
}

pub(crate) fn parse<T: DeserializeOwned>(settings: &[(String, String)]) -> Result<T, String> {
    let entries = settings.iter().map(|(name, text)| (name.as_str(), Setting { name, text }));
    T::deserialize(MapDeserializer::<_, Error>::new(entries)).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Setting<'a> {
    name: &'a str,
    text: &'a str,
}

impl Setting<'_> {
    fn wrong(&self, error: Error) -> Error {
        Error::custom(format_args!("setting `{}`: {error}", self.name))
    }
}

impl<'de> IntoDeserializer<'de, Error> for Setting<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text.trim().parse::<$type>() {
                Ok(value) => visitor.$visit(value).map_err(|error| self.wrong(error)),
                Err(_) => Err(self.wrong(Error::invalid_value(Unexpected::Str(self.text), &visitor))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Setting<'de> {
    type Error = Error;

    parsed!(
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text).map_err(|error| self.wrong(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = self.text.split(',').map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items.map(|text| Setting { name: self.name, text })))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self).map_err(|error| self.wrong(error))
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Setting<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: serde::de::DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        Ok((seed.deserialize(self.text.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Setting<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: serde::de::DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(self.wrong(Error::custom("only a name is possible here")))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(self.wrong(Error::custom("only a name is possible here")))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(self.wrong(Error::custom("only a name is possible here")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::parse;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        age_bands: Vec<u8>,
        strict: Option<bool>,
        name: String,
    }

    fn read(settings: &[(&str, &str)]) -> Result<Settings, String> {
        parse(&settings.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect::<Vec<_>>())
    }

    #[test]
    fn texts_become_numbers_lists_and_options() {
        let settings = read(&[("age-bands", "18, 30"), ("strict", "true"), ("name", "7")]);
        assert_eq!(settings, Ok(Settings { age_bands: vec![18, 30], strict: Some(true), name: "7".into() }));
    }

    #[test]
    fn what_does_not_fit_names_the_setting() {
        let error = read(&[("age-bands", "18, old"), ("name", "x")]).expect_err("`old` is no number");
        assert!(error.contains("age-bands") && error.contains("old"), "{error}");
        let error = read(&[("nmae", "x")]).expect_err("`nmae` is no setting");
        assert!(error.contains("nmae") && error.contains("name"), "{error}");
    }
}
