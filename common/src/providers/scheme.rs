//! A signature as a source describes it: an HMAC in a header, over the body and what is put around it, or Standard
//! Webhooks.

use jiff::{SignedDuration, Timestamp};

use super::{
    Keys, Need, Proof, Rejected, Request, Sample,
    signature::{Mac, near},
    standard,
};
use crate::{names::names, settings::Section};

names! {
    pub(super) Algorithm {
        Sha1 = "hmac-sha1",
        Sha256 = "hmac-sha256",
        Sha512 = "hmac-sha512",
        Standard = "standard-webhooks",
    }
}

names! {
    pub(super) Encoding { Hex = "hex", Base64 = "base64" }
}

/// How a sender signs.
#[derive(Debug)]
pub(super) enum Scheme {
    Standard,
    Header(Header),
}

#[derive(Debug)]
pub(super) struct Header {
    mac: Mac,
    /// In lower case, as all header names here.
    name: String,
    /// What stands before the MAC.
    prefix: String,
    signed: Vec<Part>,
    timestamp: Option<String>,
    tolerance: Option<SignedDuration>,
}

/// A piece of what is signed.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
    Url,
}

impl Scheme {
    /// None where nothing is described.
    pub(super) fn read(mut section: Section) -> Option<Self> {
        if section.keys().is_empty() {
            return None;
        }
        let algorithm = section.or("algorithm", Algorithm::Sha256);
        if algorithm == Algorithm::Standard {
            section.finish();
            return Some(Self::Standard);
        }
        let encoding = section.or("encoding", Encoding::Hex);
        let mac = match (algorithm, encoding) {
            (Algorithm::Sha1, Encoding::Hex) => Mac::Sha1Hex,
            (Algorithm::Sha1, Encoding::Base64) => Mac::Sha1Base64,
            (Algorithm::Sha512, Encoding::Hex) => Mac::Sha512Hex,
            (Algorithm::Sha512, Encoding::Base64) => Mac::Sha512Base64,
            (_, Encoding::Hex) => Mac::Sha256Hex,
            (_, Encoding::Base64) => Mac::Sha256Base64,
        };
        let name: Option<String> = section.required("header");
        let signed = parts(&section.or("signed", "{body}".to_owned()));
        let timestamp: Option<String> = section.optional("timestamp_header");
        let tolerance: Option<std::time::Duration> = section.optional("tolerance");
        let tolerance = tolerance.and_then(|tolerance| SignedDuration::try_from(tolerance).ok());
        match &signed {
            Some(signed) if !signed.contains(&Part::Body) => {
                section.mistake(
                    "signed",
                    "has no {body}, so that anything could be said by it",
                );
            }
            Some(_) => {}
            None => section.mistake(
                "signed",
                "holds something else in braces than {body}, {timestamp} and {url}",
            ),
        }
        let dated = signed
            .as_ref()
            .is_none_or(|signed| signed.contains(&Part::Timestamp));
        if timestamp.is_none() && (dated || tolerance.is_some()) {
            section.mistake(
                "timestamp_header",
                "is missing: it says where the {timestamp} that is signed stands",
            );
        }
        if tolerance.is_some() && !dated {
            section.mistake(
                "tolerance",
                "guards nothing, since {timestamp} is not in what is signed",
            );
        }
        let scheme = Header {
            mac,
            name: name.unwrap_or_default().to_lowercase(),
            prefix: section.or("prefix", String::new()),
            signed: signed.unwrap_or_default(),
            timestamp: timestamp.map(|name| name.to_lowercase()),
            tolerance,
        };
        section.finish();
        Some(Self::Header(scheme))
    }

    pub(super) fn headers(&self) -> &'static [&'static str] {
        match self {
            Self::Standard => standard::IDS,
            Self::Header(_) => &[],
        }
    }

    pub(super) fn needs(&self) -> &'static [Need] {
        match self {
            Self::Standard => &[Need::SecretOrPublicKey],
            Self::Header(header) if header.signed.contains(&Part::Url) => {
                &[Need::Secret, Need::Url]
            }
            Self::Header(_) => &[Need::Secret],
        }
    }

    pub(super) fn verify(&self, request: &Request<'_>, keys: &Keys) -> Result<(), Rejected> {
        let Self::Header(scheme) = self else {
            return standard::verify(request, keys);
        };
        let given = request.header.get(&scheme.name).ok_or(Rejected)?;
        let given = given.trim().strip_prefix(&scheme.prefix).ok_or(Rejected)?;
        let timestamp = match &scheme.timestamp {
            Some(name) => request.header.get(name).ok_or(Rejected)?,
            None => "",
        };
        if let Some(tolerance) = scheme.tolerance {
            near(timestamp, request.now, tolerance)?;
        }
        let message = scheme
            .message(request.body, timestamp, keys)
            .ok_or(Rejected)?;
        scheme.mac.check(given, keys, &[&message])
    }

    pub(super) fn prove(&self, sample: &Sample, keys: &Keys, now: Timestamp) -> Option<Proof> {
        let Self::Header(scheme) = self else {
            return standard::prove(standard::WEBHOOK, sample, keys, now);
        };
        let timestamp = now.as_second().to_string();
        let message = scheme.message(sample.body().as_bytes(), &timestamp, keys)?;
        let mac = scheme.mac.made(keys, &[&message])?;
        let signature = format!("{}{mac}", scheme.prefix);
        let mut proof = Proof::by_header(scheme.name.clone(), signature, sample);
        let dated = scheme.timestamp.clone();
        proof
            .headers
            .extend(dated.map(|name| (name.into(), timestamp)));
        Some(proof)
    }
}

impl Header {
    /// What is signed. None without the URL that it wants.
    fn message(&self, body: &[u8], timestamp: &str, keys: &Keys) -> Option<Vec<u8>> {
        let mut message = vec![];
        for part in &self.signed {
            message.extend_from_slice(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Body => body,
                Part::Timestamp => timestamp.as_bytes(),
                Part::Url => keys.url.as_deref()?.as_bytes(),
            });
        }
        Some(message)
    }
}

/// The pieces of a text such as `{timestamp}.{body}`. None if it holds something else in braces.
fn parts(text: &str) -> Option<Vec<Part>> {
    let mut parts = vec![];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(match name {
            "body" => Part::Body,
            "timestamp" => Part::Timestamp,
            "url" => Part::Url,
            _ => return None,
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Some(parts)
}
