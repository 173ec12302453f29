//! A web origin, as browsers name the page that asks: scheme, host and port.

use toml::Value;
use url::Url;

use crate::settings::Setting;

/// Written exactly as a browser writes it, since it is compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Origin {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        if text.contains('*') {
            return Err(format!(
                "is {text:?}, but the answers are about people: name each origin that may read them"
            ));
        }
        let parsed = Url::parse(&text).ok();
        let origin = parsed
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .map(|url| url.origin().ascii_serialization());
        match origin {
            Some(origin) if origin == text => Ok(Self(text)),
            Some(origin) => Err(format!(
                "is {text:?}, but an origin, which has neither path nor default port, is needed: {origin:?}"
            )),
            None => Err(format!(
                "is {text:?}, but an origin such as \"https://app.example.com\" is needed"
            )),
        }
    }

    fn show(&self) -> Value {
        Value::from(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_as_browsers_write_it_and_otherwise_told_how() {
        for text in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
        ] {
            assert_eq!(Origin::read(&Value::from(text)).unwrap().as_str(), text);
        }
        for (text, right) in [
            ("*", "name each origin"),
            ("null", "such as"),
            ("app.example.com", "such as"),
            ("ftp://app.example.com", "such as"),
            ("https://app.example.com/", "\"https://app.example.com\""),
            ("https://APP.example.com", "\"https://app.example.com\""),
            ("https://app.example.com:443", "\"https://app.example.com\""),
            ("https://*.example.com", "name each origin"),
            ("https://me@app.example.com", "\"https://app.example.com\""),
        ] {
            let why = Origin::read(&Value::from(text)).unwrap_err();
            assert!(why.contains(right), "{text}: {why}");
        }
    }
}
