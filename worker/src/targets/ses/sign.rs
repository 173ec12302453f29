//! AWS Signature Version 4 of a request without a query:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//!
//! Signed by hand, over the HMAC and SHA-256 that are here anyway: AWS's crate for it brings eight more of its SDK's.

use common::signature::{hex, hmac_sha256};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

/// The path of a request is encoded once more, its slashes not.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Who signs, and for what.
pub(super) struct Signer {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
    pub(super) region: String,
    pub(super) service: &'static str,
}

/// The headers `x-amz-date` and `authorization`.
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
}

impl Signer {
    pub(super) fn sign(&self, method: &str, url: &Url, body: &[u8], now: Timestamp) -> Signed {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &date[..8];
        let host = url.host_str().unwrap_or_default();
        let host = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = utf8_percent_encode(url.path(), PATH);
        let hash = hex(&Sha256::digest(body));
        let request = format!(
            "{method}\n{path}\n\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{hash}"
        );
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let request = hex(&Sha256::digest(request));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}");
        let mut key = format!("AWS4{}", self.secret_key.expose_secret()).into_bytes();
        for part in [day, self.region.as_str(), self.service, "aws4_request"] {
            key = hmac_sha256(&key, &[part.as_bytes()]).to_vec();
        }
        let signature = hex(&hmac_sha256(&key, &[text.as_bytes()]));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, \
             Signature={signature}",
            self.access_key
        );
        Signed {
            date,
            authorization,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(method: &str, url: &str) -> String {
        let signer = Signer {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".to_owned(),
            service: "service",
        };
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = signer.sign(method, &url.parse().unwrap(), b"", at);
        assert_eq!(headers.date, "20150830T123600Z");
        let (head, signature) = headers.authorization.split_once("Signature=").unwrap();
        let scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        assert_eq!(
            head,
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, ")
        );
        signature.to_owned()
    }

    /// Of AWS's test suite for the signature, by their names there.
    #[test]
    fn aws_s_own_examples_are_signed_as_they_are_there() {
        let url = "https://example.amazonaws.com/";
        for (name, method, signature_there) in [
            (
                "get-vanilla",
                "GET",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                "POST",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            assert_eq!(signature(method, url), signature_there, "{name}");
        }
    }
}
