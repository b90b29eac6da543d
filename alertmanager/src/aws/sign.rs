//! Signs requests to Amazon's services.
//!
//! Source: Amazon's documentation of Signature Version 4.
//!
//! Invariant: what is signed is what is sent: the host, the time and the body are part of it.

use base::http::Uri;
use base::http::client::Origin;
use base::sample::Timestamp;
use base::secret::Secret;
use ring::digest::{SHA256, digest};
use ring::hmac;

use super::Credentials;

/// The method of signing.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// For what a request is signed, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signing<'a> {
    /// `sns`, `sts` or `ec2`.
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) credentials: &'a Credentials,
    pub(crate) now: Timestamp,
}

impl Signing<'_> {
    /// The headers by which a request that posts `body` to `url` is known to be ours.
    ///
    /// # Errors
    ///
    /// The address is none, or the time is none.
    pub(crate) fn headers(
        &self,
        url: &Secret,
        content_type: &str,
        body: &[u8],
    ) -> Result<Vec<(&'static str, Secret)>, String> {
        let no_url = || "the configured address is no http URL".to_owned();
        let uri: Uri = url.expose().parse().map_err(|_| no_url())?;
        let origin = Origin::of(&uri).map_err(|_| no_url())?;
        let host = match (origin.tls, origin.port) {
            (false, 80) | (true, 443) => origin.host.clone(),
            (_, port) => format!("{}:{port}", origin.host),
        };
        let at = jiff::Timestamp::from_millisecond(self.now.millis());
        let at = at.map_err(|_| "the time cannot be signed".to_owned())?;
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = at.strftime("%Y%m%d").to_string();

        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        let mut names = "content-type;host;x-amz-date".to_owned();
        let mut lines = format!("content-type:{content_type}\nhost:{host}\nx-amz-date:{time}\n");
        let mut headers = vec![("host", Secret::new(host)), ("x-amz-date", Secret::new(&*time))];
        if let Some(token) = &self.credentials.session_token {
            names.push_str(";x-amz-security-token");
            lines.push_str(&format!("x-amz-security-token:{}\n", token.expose()));
            headers.push(("x-amz-security-token", token.clone()));
        }
        let hash = |bytes: &[u8]| hex(digest(&SHA256, bytes).as_ref());
        let query = uri.query().unwrap_or("");
        let request = format!("POST\n{path}\n{query}\n{lines}\n{names}\n{}", hash(body));
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hash(request.as_bytes()));
        let signature = hex(&self.signature(&day, &text));
        let key = &self.credentials.access_key;
        let authorization = format!(
            "{ALGORITHM} Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        headers.push(("authorization", Secret::new(authorization)));
        Ok(headers)
    }

    /// The text under a key that is made for the day, the region and the service.
    fn signature(&self, day: &str, text: &str) -> Vec<u8> {
        let under = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let key = format!("AWS4{}", self.credentials.secret_key.expose());
        let parts = [day, self.region, self.service, "aws4_request", text];
        parts.into_iter().fold(key.into_bytes(), |key, part| under(&key, part))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        }
    }

    #[track_caller]
    fn header(headers: &[(&'static str, Secret)], name: &str) -> String {
        let found = headers.iter().find(|(known, _)| *known == name).unwrap();
        found.1.expose().to_owned()
    }

    #[test]
    fn derives_the_key_that_the_documentation_shows() {
        // The example of deriving a signing key: 20150830, us-east-1, iam.
        let credentials = credentials(None);
        let signing = Signing {
            service: "iam",
            region: "us-east-1",
            credentials: &credentials,
            now: Timestamp::default(),
        };
        let text = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                    f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        assert_eq!(
            hex(&signing.signature("20150830", text)),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn signs_host_time_and_token() {
        let signed = |url: &str, token, body: &str| {
            let credentials = credentials(token);
            let now = Timestamp::from_millis(1_440_938_160_000);
            let signing =
                Signing { service: "sns", region: "us-east-1", credentials: &credentials, now };
            signing.headers(&Secret::new(url), "text/plain", body.as_bytes()).unwrap()
        };
        let headers = signed("https://sns.us-east-1.amazonaws.com/", Some("t0ken"), "a=b");
        assert_eq!(header(&headers, "x-amz-date"), "20150830T123600Z");
        assert_eq!(header(&headers, "host"), "sns.us-east-1.amazonaws.com");
        assert_eq!(header(&headers, "x-amz-security-token"), "t0ken");
        let authorization = header(&headers, "authorization");
        let begin = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sns/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
        assert!(authorization.starts_with(begin), "{authorization}");
        let other =
            |url: &str, token, body: &str| header(&signed(url, token, body), "authorization");
        let url = "https://sns.us-east-1.amazonaws.com/";
        assert_eq!(other(url, Some("t0ken"), "a=b"), authorization);
        assert_ne!(other(url, Some("t0ken"), "a=c"), authorization);
        assert_ne!(other(url, Some("other"), "a=b"), authorization);
        assert_ne!(other("https://h:444/", Some("t0ken"), "a=b"), authorization);
        assert!(!format!("{headers:?}").contains("t0ken"));
    }
}
