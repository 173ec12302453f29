//! Forms with files (`multipart/form-data`, RFC 7578), read out of a body that is there as a whole and not large.
//!
//! Only what browsers send: parts with a name, each a text. A file is read like any other field.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// More fields than any form here has.
const MOST_PARTS: usize = 32;

/// What stands between the parts; None for another type of content.
pub(super) fn boundary(kind: &str) -> Option<String> {
    let (kind, rest) = kind.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = rest.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary")
            .then(|| value.trim_matches('"'))
    })?;
    (1..=70)
        .contains(&boundary.len())
        .then(|| boundary.to_owned())
}

/// The fields of a body; of a name that is given twice the last.
pub(super) fn read(body: &[u8], boundary: &str) -> Result<BTreeMap<String, String>> {
    let wrong = |why: &str| Error::Body(why.to_owned());
    // The first one stands at the very beginning.
    let opening = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = body
        .strip_prefix(opening.as_bytes())
        .ok_or_else(|| wrong("it does not begin as its type says"))?;
    let mut fields = BTreeMap::new();
    for _ in 0..MOST_PARTS {
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        let part = rest
            .strip_prefix(b"\r\n")
            .ok_or_else(|| wrong("a part begins in a strange way"))?;
        let end = find(part, between.as_bytes()).ok_or_else(|| wrong("it breaks off in a part"))?;
        let (name, value) = field(&part[..end])?;
        fields.insert(name, value);
        rest = &part[end + between.len()..];
    }
    Err(wrong("it has too many parts"))
}

/// The name of a part, and what it says.
fn field(part: &[u8]) -> Result<(String, String)> {
    let wrong = |why: &str| Error::Body(why.to_owned());
    let blank = b"\r\n\r\n";
    let end = find(part, blank).ok_or_else(|| wrong("a part has no end of its headers"))?;
    let head = String::from_utf8_lossy(&part[..end]);
    let name = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .and_then(|(_, value)| value.split_once("name=\""))
        .and_then(|(_, rest)| rest.split_once('"'));
    let (name, _) = name.ok_or_else(|| wrong("a part has no name"))?;
    let value = String::from_utf8(part[end + blank.len()..].to_vec())
        .map_err(|_| Error::field(name, "is not UTF-8: save the file as UTF-8 and try again"))?;
    Ok((name.to_owned(), value))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use hostile::{bytes, withstands};

    use super::*;

    const BODY: &str = "--x\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\ntoken\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n\
        email\r\na@b.example\r\n\r\n--x--\r\n";

    #[test]
    fn a_file_is_read_with_the_fields_beside_it() {
        let fields = read(BODY.as_bytes(), "x").unwrap();
        assert_eq!(fields["csrf"], "token");
        assert_eq!(fields["file"], "email\r\na@b.example\r\n");
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn the_boundary_is_that_of_the_content_type() {
        for (kind, found) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data;charset=utf-8; Boundary=\"a-c\"",
                Some("a-c"),
            ),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("application/x-www-form-urlencoded", None),
            ("multipart/mixed; boundary=abc", None),
        ] {
            assert_eq!(boundary(kind).as_deref(), found, "{kind}");
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for body in [
            "",
            "--x",
            "--x\r\n\r\n\r\n--x--",
            "--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
            &BODY[..60],
            &BODY.replace("--x--", "--y--"),
        ] {
            assert!(read(body.as_bytes(), "x").is_err(), "{body:?}");
        }
        assert!(read(b"--x--", "x").unwrap().is_empty());
    }

    #[test]
    fn no_body_makes_the_reader_of_forms_panic() {
        withstands(
            "a form with files",
            file!(),
            &bytes([BODY, "--x--"]),
            |body| {
                drop(read(&body, "x"));
            },
        );
    }
}
