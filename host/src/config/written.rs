//! Values with the place where they were written, and tables whose keys are people's own names.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value and the bytes of the file (see [`super::diagnostic::Texts`]) it was read from.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub value: T,
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Written { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for Written<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A table whose keys are names of a person's choosing, in file order.
#[derive(Clone, Debug)]
pub struct Named<T>(pub Vec<(Written<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// Text of a given format, which [`super::shape`] has checked before it is read into this.
macro_rules! text_formats {
    ($($(#[doc = $doc:literal])* $name:ident, $format:literal, $example:literal, $parse:path, $value:ty;)*) => {
        $($(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(pub $value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map($name).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "examples": [$example] })
            }
        })*

        /// What is wrong with a text of one of these formats.
        pub fn check_format(format: &str, text: &str) -> Result<(), String> {
            match format {
                $($format => $parse(text).map(drop),)*
                _ => Ok(()),
            }
        }

        /// How a person would name what a format holds.
        pub fn format_example(format: &str) -> Option<&'static str> {
            match format {
                $($format => Some($example),)*
                _ => None,
            }
        }
    };
}

text_formats! {
    /// A time with its unit.
    HumanDuration, "duration", "10s", super::units::duration, std::time::Duration;
    /// A number of bytes with its unit.
    HumanSize, "size", "64 MiB", super::units::size, u64;
    /// An age, a size, or either.
    HumanRetention, "retention", "7d or 1 GiB", super::units::retention, super::plan::Retention;
    /// A share of the last records.
    HumanShare, "share", "5% of 200", super::units::stop_when, Option<super::plan::StopWhen>;
}
