//! AWS Signature Version 4 of a request:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign},
    sign::v4::SigningParams,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Who signs, and for what.
pub(super) struct Signer {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
    pub(super) region: String,
    pub(super) service: &'static str,
}

impl Signer {
    /// The headers that prove the request, `x-amz-date` and `authorization`; the host is signed, too. It is refused only
    /// where the request is none that HTTP knows.
    pub(super) fn sign(
        &self,
        method: &str,
        url: &Url,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<(String, String)>, SigningError> {
        let secret_key = self.secret_key.expose_secret();
        let identity =
            Credentials::new(&self.access_key, secret_key, None, None, "configuration").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now.into())
            .settings(SigningSettings::default())
            .build()
            .expect("all that it wants is given")
            .into();
        let none = std::iter::empty();
        let request = SignableRequest::new(method, url.as_str(), none, SignableBody::Bytes(body))?;
        let (signed, _) = sign(request, &params)?.into_parts();
        let headers = signed.headers();
        Ok(headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of AWS's test suite for the signature, by their names there.
    #[test]
    fn aws_s_own_examples_are_signed_as_they_are_there() {
        let signer = Signer {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".to_owned(),
            service: "service",
        };
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        for (name, method, signature) in [
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
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            let mut headers = signer.sign(method, &url, b"", at).unwrap();
            headers.sort();
            let expected = [
                ("authorization".to_owned(), authorization),
                ("x-amz-date".to_owned(), "20150830T123600Z".to_owned()),
            ];
            assert_eq!(headers, expected, "{name}");
        }
    }
}
