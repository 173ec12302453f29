//! The types that a setting can have: how each is read, refused and shown.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use jiff::SignedDuration;
use toml::Value;
use url::Url;

/// In seconds. The library knows no days, since one may have 23 hours or 25.
const DAY: u64 = 24 * 60 * 60;

/// A type that a setting can have.
pub trait Setting: Sized {
    /// Reads the value; the error says what it is and what would be right.
    fn read(value: &Value) -> Result<Self, String>;
    /// How the value is shown.
    fn show(&self) -> Value;
}

fn wrong<T>(value: &Value, wanted: &str) -> Result<T, String> {
    let given = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    Err(format!("is {given}, but {wanted} is needed"))
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            // From the environment a password of digits arrives as a number.
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(value.to_string()),
            _ => wrong(value, "a text"),
        }
    }
    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .map_or_else(|| wrong(value, "true or false"), Ok)
    }
    fn show(&self) -> Value {
        Value::from(*self)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                let number = value.as_integer().and_then(|number| Self::try_from(number).ok());
                number.map_or_else(|| wrong(value, concat!("a whole number that fits ", stringify!($type))), Ok)
            }
            fn show(&self) -> Value {
                Value::from(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}
whole_numbers!(u16, u32, u64, usize);

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value
            .as_str()
            .and_then(|text| match text.strip_suffix('d') {
                Some(days) => Some(Self::from_secs(days.parse::<u64>().ok()?.checked_mul(DAY)?)),
                None => Self::try_from(text.parse::<SignedDuration>().ok()?).ok(),
            });
        let wanted = "a duration such as \"500ms\", \"5s\", \"2m\", \"24h\" or \"90d\"";
        read.map_or_else(|| wrong(value, wanted), Ok)
    }
    fn show(&self) -> Value {
        Value::String(format!(
            "{:#}",
            SignedDuration::try_from(*self).unwrap_or(SignedDuration::MAX)
        ))
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value.as_str().and_then(|text| text.parse().ok());
        read.map_or_else(
            || wrong(value, "an address and port such as \"127.0.0.1:8080\""),
            Ok,
        )
    }
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for IpNet {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value.as_str().and_then(|text| text.parse().ok());
        read.map_or_else(|| wrong(value, "a CIDR block such as \"10.0.0.0/8\""), Ok)
    }
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for Url {
    fn read(value: &Value) -> Result<Self, String> {
        let read = value
            .as_str()
            .and_then(|text| Self::parse(text).ok())
            .filter(Self::has_host);
        read.map_or_else(|| wrong(value, "a URL such as \"https://example.com\""), Ok)
    }
    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        let Some(values) = value.as_array() else {
            return wrong(value, "a list");
        };
        let read = values.iter().enumerate();
        read.map(|(index, value)| T::read(value).map_err(|why| format!("[{index}] {why}")))
            .collect()
    }
    fn show(&self) -> Value {
        Value::Array(self.iter().map(T::show).collect())
    }
}

/// A number of bytes, written `"64KiB"` or `"1MiB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl Setting for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let factor = match text[split..].trim() {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1_usize << 30),
            _ => None,
        };
        let size = text[..split]
            .parse::<usize>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor));
        size.map_or_else(
            || wrong(value, "a size such as \"64KiB\" or \"1MiB\""),
            |size| Ok(Self(size)),
        )
    }
    fn show(&self) -> Value {
        let (size, unit) = match self.0 {
            size if size > 0 && size.is_multiple_of(1 << 30) => (size >> 30, "GiB"),
            size if size > 0 && size.is_multiple_of(1 << 20) => (size >> 20, "MiB"),
            size if size > 0 && size.is_multiple_of(1 << 10) => (size >> 10, "KiB"),
            size => (size, "B"),
        };
        Value::String(format!("{size}{unit}"))
    }
}
