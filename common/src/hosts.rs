//! The URL of a store on servers: `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?QUERY`, with one host or several.
//!
//! `sslrootcert=FILE` in the query names the CA that signed the servers' certificates, as it does for PostgreSQL, and is
//! taken out: nothing else knows it. No error tells the URL, which may hold a password.

use std::{fs, path::PathBuf};

use url::Url;

/// The query parameter that names a CA's file.
pub const CA: &str = "sslrootcert";

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// The same URL for each host alone, in the order of the hosts; at least one.
    pub each: Vec<Url>,
    ca: Option<PathBuf>,
}

impl Hosts {
    /// The error says what is wrong, to go on from "the URL".
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("has no scheme, such as amqp://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') {
            // What is before it may be the start of a password, so nothing of it is told.
            return Err("has an @ behind the first /, ? or #: in a user's name or a password these are written %2F, %3F and \
                 %23, and an @ that stands elsewhere %40"
                .to_owned());
        }
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let mut each = Vec::new();
        let mut ca = None;
        for host in hosts.split(',') {
            let url = Url::parse(&format!("{scheme}://{user}{host}{tail}")).ok();
            let readable = url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
            let mut url = readable.ok_or_else(|| {
                format!("names the host {host:?}, but HOST or HOST:PORT is needed, several parted by commas")
            })?;
            ca = take_ca(&mut url);
            each.push(url);
        }
        Ok(Self { each, ca })
    }

    /// What Sentinels call the master, and the database there, out of the path `/MASTER` or `/MASTER/DATABASE`.
    pub fn service(&self) -> Option<(&str, i64)> {
        let path = self.each.first()?.path().trim_matches('/');
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        let database = database.parse().ok().filter(|database| *database >= 0)?;
        (!master.is_empty()).then_some((master, database))
    }

    /// What is in the CA's file, if one is named.
    pub fn ca(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.ca else {
            return Ok(None);
        };
        let wrong = |why: String| format!("names the CA's file {} by {CA}, {why}", path.display());
        let text = fs::read_to_string(path)
            .map_err(|error| wrong(format!("which cannot be read: {error}")))?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(wrong("which holds no certificate in PEM".to_owned()));
        }
        Ok(Some(text))
    }
}

fn take_ca(url: &mut Url) -> Option<PathBuf> {
    let of_ca = |(name, _): &(String, String)| name == CA;
    let (ca, others): (Vec<_>, Vec<_>) = url.query_pairs().into_owned().partition(of_ca);
    let (_, path) = ca.into_iter().next_back()?;
    if others.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(others);
    }
    Some(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(text: &str) -> Vec<String> {
        let hosts = Hosts::parse(text).unwrap();
        hosts.each.iter().map(Url::to_string).collect()
    }

    #[test]
    fn each_host_gets_all_else_that_the_url_says() {
        assert_eq!(
            each("amqp://me:a,b@one:1,two,[::1]:3/%2f?heartbeat=5"),
            [
                "amqp://me:a,b@one:1/%2f?heartbeat=5",
                "amqp://me:a,b@two/%2f?heartbeat=5",
                "amqp://me:a,b@[::1]:3/%2f?heartbeat=5"
            ]
        );
        assert_eq!(each("redis://one"), ["redis://one"]);
    }

    #[test]
    fn what_is_no_host_is_named_and_a_password_is_not() {
        for (url, host) in [
            ("amqp://me:secret@one,,two", "\"\""),
            ("amqp://me:secret@one:port", "\"one:port\""),
            ("amqp://me:secret@", "\"\""),
            ("amqp://me:sec/ret@one", "%2F"),
            ("amqp://me:12/secret@one", "%2F"),
        ] {
            let why = Hosts::parse(url).unwrap_err();
            assert!(why.contains(host) && !why.contains("sec"), "{why}");
        }
        assert!(Hosts::parse("one").is_err());
    }

    #[test]
    fn the_ca_is_taken_out_of_the_query_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let url = format!(
            "amqps://one,two/v?{CA}={}&heartbeat=5&auth_mechanism=plain",
            path.display()
        );
        assert_eq!(
            each(&url)[1],
            "amqps://two/v?heartbeat=5&auth_mechanism=plain"
        );
        let hosts = Hosts::parse(&url).unwrap();
        assert!(hosts.ca().unwrap_err().contains("cannot be read"));
        fs::write(&path, "text").unwrap();
        assert!(hosts.ca().unwrap_err().contains("no certificate"));
        fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert!(hosts.ca().unwrap().is_some());
        assert_eq!(Hosts::parse("amqps://one").unwrap().ca(), Ok(None));
    }
}
