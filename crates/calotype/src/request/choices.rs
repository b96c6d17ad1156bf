//! Enums of choices: each value has an id, by which JSON, the command line and [`FromStr`](std::str::FromStr) know it, and
//! a sentence about it, which is its documentation and what help says.

/// Defines such enums: `enum Name("what it is called in messages") = DefaultValue { /// About it. Value = "id", ... }`.
macro_rules! choices {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident($what:literal) = $default:ident {
            $($(#[doc = $about:literal])+ $value:ident = $id:literal,)+
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $about])+ $value,)+
        }

        impl $name {
            /// Every value, its id, and what it is.
            pub const CHOICES: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$value, $id, concat!($($about),+)),)+];

            /// Its id.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$value => $id,)+
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.id())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(id: &str) -> $crate::Result<Self> {
                let known = Self::CHOICES.iter().find(|(_, known, _)| *known == id);
                known.map(|(value, ..)| *value).ok_or_else(|| {
                    let ids: Vec<&str> = Self::CHOICES.iter().map(|(_, id, _)| *id).collect();
                    let shown = calotype_checkpoint::brief(id);
                    let message = format!("unknown {} {shown:?}: use one of {}", $what, ids.join(", "));
                    $crate::Error::UnknownName { kind: $what, name: id.to_owned(), message }
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::request::by_id::serialize(self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::request::by_id::deserialize(from)
            }
        }
    )+};
}

pub(crate) use choices;
