//! One pattern for what is chosen by name: every value has an id, by which it is written, read and serialised.

/// `Display`, `Serialize` by `id()`, and `Deserialize` by `FromStr` of types that have those.
macro_rules! written_by_id {
    ($($type:ty),+) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.id())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.id())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

/// All of the above and `ALL`, `id()` and `FromStr` of an enum, from its values' ids; what it is called is for errors.
macro_rules! ids {
    ($type:ident, $what:literal, [$($value:ident = $id:literal),+ $(,)?]) => {
        impl $type {
            /// Every one.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$value),+];

            /// Its id, by which it is written and read.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$value => $id),+
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::Error;

            fn from_str(name: &str) -> Result<Self, crate::Error> {
                let known = Self::ALL.into_iter().find(|known| crate::ids::plain(known.id()) == crate::ids::plain(name));
                known.ok_or_else(|| crate::Error::Unknown {
                    what: $what,
                    name: crate::ids::shortened(name),
                    nearest: None,
                    known: Self::ALL.map(Self::id).join(", "),
                })
            }
        }

        crate::ids::written_by_id!($type);
    };
}

pub(crate) use {ids, written_by_id};

/// Ids and names differ in case and in signs: `DPM++ 2M SDE` is `dpmpp_2m_sde`.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
    letters.map(|c| if c == '+' { 'p' } else { c.to_ascii_lowercase() }).collect()
}

/// Enough of a wrong name to recognise it in a message.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}
