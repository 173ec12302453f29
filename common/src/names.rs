//! One way to write a closed set of names: the enum, its text, and the text read back.

/// Declares an enum whose variants have one fixed text each, used alike in JSON, its schema, SQL, TOML and logs.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($rest:tt)+ }) => {
        names!(@ [pub] $(#[$doc])* $type { $($rest)+ });
    };
    ($(#[$doc:meta])* pub(super) $type:ident { $($rest:tt)+ }) => {
        names!(@ [pub(super)] $(#[$doc])* $type { $($rest)+ });
    };
    (@ [$visible:vis] $(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $visible enum $type {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $type {
            /// Every value, in the order of declaration.
            $visible const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The fixed text of this value.
            $visible const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::names::Unknown;

            fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(crate::names::Unknown { given: text.to_owned(), known: &[$($text,)+] }),
                }
            }
        }

        impl utoipa::ToSchema for $type {}

        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .enum_values(Some(Self::ALL.iter().map(|value| value.as_str())))
                    .into()
            }
        }

        impl crate::settings::Setting for $type {
            fn read(value: &toml::Value) -> std::result::Result<Self, String> {
                let text = <String as crate::settings::Setting>::read(value)?;
                text.parse().map_err(|unknown: crate::names::Unknown| format!("is {unknown}"))
            }

            fn show(&self) -> toml::Value {
                toml::Value::from(self.as_str())
            }
        }
    };
}

pub(crate) use names;

/// A text that is none of the names it may be.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is none of {}", known.join(", "))]
pub struct Unknown {
    pub given: String,
    pub known: &'static [&'static str],
}
