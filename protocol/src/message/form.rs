//! Strictness that serde's derive does not give: an object is written as an object (the derive takes an array of its
//! fields as well), and a word as a string (the derive takes `{"otp": null}` as well).

use serde::{Deserializer, de::Visitor, forward_to_deserialize_any};

/// Implements `Deserialize` and `Serialize` for structs whose derive has `#[serde(remote = "Self")]`.
macro_rules! object {
    ($($name:ident),+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::deserialize($crate::message::form::ObjectOnly(d))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, s)
            }
        }
    )+};
}

/// Implements `Deserialize` for an enumeration with `parse`, from a string alone.
macro_rules! word {
    ($name:ty, $known:literal) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Word;

                impl serde::de::Visitor<'_> for Word {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("one of ", $known))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        <$name>::parse(text).ok_or_else(|| E::custom(concat!("not one of ", $known)))
                    }
                }

                d.deserialize_str(Word)
            }
        }
    };
}

pub(crate) use {object, word};

/// Asks for a map where a derived struct asks for a struct.
pub(super) struct ObjectOnly<D>(pub(super) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
