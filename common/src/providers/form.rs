//! Forms: the bodies of providers that post `application/x-www-form-urlencoded`, or `multipart/form-data` where files may
//! come with the fields.

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use url::form_urlencoded;

use super::{Malformed, fields::Fields};

/// What a form may hold at most: none of the providers' has nearly as many fields.
const MOST_FIELDS: usize = 1_000;

/// The fields of a form in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form. `content_type` tells only whether it comes in parts.
    pub(crate) fn read(body: &[u8], content_type: Option<&str>) -> Result<Self, Malformed> {
        let boundary = content_type.and_then(|given| multer::parse_boundary(given).ok());
        match boundary {
            Some(boundary) => Self::in_parts(body, boundary),
            None => Ok(Self::encoded(body)),
        }
    }

    /// Reads a form of one line.
    pub(super) fn encoded(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body.trim_ascii()).into_owned();
        Self(pairs.take(MOST_FIELDS).collect())
    }

    /// Reads a form of one line, and nothing of one in parts: for a look at the bytes alone.
    pub(super) fn glance(body: &[u8]) -> Self {
        if body.trim_ascii().starts_with(b"--") {
            Self::default()
        } else {
            Self::encoded(body)
        }
    }

    /// The whole body is there, so that nothing is waited for.
    fn in_parts(body: &[u8], boundary: String) -> Result<Self, Malformed> {
        let broken = || Malformed("the body is no form in parts".to_owned());
        let whole = Bytes::copy_from_slice(body);
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(whole)]);
        let mut parts = multer::Multipart::new(whole, boundary);
        let mut form = Self::default();
        let read = async {
            while let Some(part) = parts.next_field().await? {
                let name = part.name().map(str::to_owned);
                let file = part.file_name().is_some();
                let value = part.bytes().await?;
                if let (Some(name), false) = (name, file) {
                    form.0
                        .push((name, String::from_utf8_lossy(&value).into_owned()));
                }
                if form.0.len() >= MOST_FIELDS {
                    break;
                }
            }
            Ok::<_, multer::Error>(())
        };
        let read = read.now_or_never().ok_or_else(broken)?;
        read.map_err(|_| broken())?;
        Ok(form)
    }

    /// The first value of a name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let found = pairs.find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a name, whatever its case.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter();
        let named = named.filter(move |(given, _)| given.trim().eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The last value of a name, which who sets variables of their own cannot take the place of.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().rev();
        let found = pairs.find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it holds this field and no other.
    pub(super) fn is_only(&self, name: &str, value: &str) -> bool {
        matches!(&self.0[..], [(given, text)] if given == name && text.trim() == value)
    }

    /// What providers sign by HMAC-SHA1: the URL, and behind it each field's name and value, sorted by name. Of a name that
    /// comes several times the values are sorted, and each is signed once.
    pub(super) fn signed(&self, url: &str) -> Vec<u8> {
        let mut pairs = self.0.clone();
        pairs.sort();
        pairs.dedup();
        let mut signed = url.as_bytes().to_vec();
        for (name, value) in pairs {
            signed.extend_from_slice(name.as_bytes());
            signed.extend_from_slice(value.as_bytes());
        }
        signed
    }

    /// Sets a field that is there, or adds it.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let mut pairs = self.0.iter_mut().rev();
        if let Some((_, given)) = pairs.find(|(given, _)| given == name) {
            value.clone_into(given);
        } else {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// As it is posted.
    pub(super) fn encode(&self) -> String {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(&self.0);
        encoded.finish()
    }

    /// To be read like any element of a body, by the first value of each name.
    pub(super) fn into_fields(self) -> Fields {
        Fields::of_form(self.0)
    }

    /// The same, of these names by the [last](Self::last) one.
    pub(super) fn into_fields_by_last(self, names: &[&str]) -> Fields {
        let last = |name: &&str| Some(((*name).to_owned(), self.last(name)?.to_owned()));
        let last: Vec<_> = names.iter().filter_map(last).collect();
        Fields::of_form(last.into_iter().chain(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_in_parts_is_read_like_one_of_one_line_and_files_are_passed_over() {
        let parts = "--x\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\nbounced\r\n--x\r\nContent-Disposition: form-data; name=\"a b\"\r\n\r\n1&2\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nevent=x\r\n--x--\r\n";
        let content_type = Some("multipart/form-data; boundary=x");
        let form = Form::read(parts.as_bytes(), content_type).unwrap();
        assert_eq!(form.encode(), "event=bounced&a+b=1%262");
        let again = Form::read(b"event=bounced&a+b=1%262\n", Some("text/plain")).unwrap();
        assert_eq!(again.encode(), form.encode());
        assert!(Form::read(&parts.as_bytes()[..40], content_type).is_err());
    }

    #[test]
    fn of_a_name_that_comes_twice_the_first_or_the_last_is_asked_for_and_the_last_is_set() {
        let mut form = Form::encoded(b"a=1&b=2&a=3");
        assert_eq!(
            (form.first("a"), form.last("a"), form.first("c")),
            (Some("1"), Some("3"), None)
        );
        form.set("a", "4");
        form.set("c", "5");
        assert_eq!(form.encode(), "a=1&b=2&a=4&c=5");
    }

    #[test]
    fn what_is_signed_is_sorted_and_each_repeat_signed_once() {
        let form = Form::encoded(b"b=2&a=9&a=1&a=9&B=0");
        assert_eq!(form.signed("https://x/"), b"https://x/B0a1a9b2");
    }
}
