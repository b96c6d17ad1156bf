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
/// Other names are read too.
macro_rules! ids {
    ($type:ident, $what:literal, [$($value:ident = $id:literal $(| $other:literal)*),+ $(,)?]) => {
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
                const NAMES: &[(&str, $type)] = &[$(($id, $type::$value) $(, ($other, $type::$value))*),+];
                let is = |known: &str| crate::ids::plain(known) == crate::ids::plain(name);
                let known = NAMES.iter().find(|(known, _)| is(known)).map(|(_, value)| *value);
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

/// `ALL`, `info()`, `id()` and `label()` of an enum each of whose values has a row of a table, in the same order.
macro_rules! rows {
    ($type:ident, $table:ident, $row:ident) => {
        impl $type {
            /// Every one.
            pub const ALL: [Self; $table.len()] = {
                let mut all = [$table[0].kind; $table.len()];
                let mut i = 0;
                while i < all.len() {
                    all[i] = $table[i].kind;
                    i += 1;
                }
                all
            };

            /// Its row of the table.
            #[must_use]
            pub fn info(self) -> &'static $row {
                &$table[self as usize]
            }

            /// Its id, by which it is written and read.
            #[must_use]
            pub fn id(self) -> &'static str {
                self.info().id
            }

            /// Its name in A1111, as in an image's parameters.
            #[must_use]
            pub fn label(self) -> &'static str {
                self.info().label
            }
        }

        crate::ids::written_by_id!($type);

        #[test]
        fn rows_are_in_the_order_of_values() {
            for row in &$table {
                assert_eq!(row.kind.info(), row);
            }
        }
    };
}

pub(crate) use {ids, rows, written_by_id};

/// Ids and names differ in case and in signs: `DPM++ 2M SDE` is `dpmpp_2m_sde`.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
    letters.map(|c| if c == '+' { 'p' } else { c.to_ascii_lowercase() }).collect()
}

/// Enough of a wrong name to recognise it in a message.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}
