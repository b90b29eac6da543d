//! Another store in the place of ours (`storage: {remote: ..}`): rules and queries are evaluated
//! there, over Prometheus's query API.
//!
//! Invariant: an expression without a whole answer fails; it never counts as one that finds nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpAccess;
use base::http::client::Origin;
use base::http::fetch::{Answer, fetch};
use base::http::{Full, Method, Request, Uri, header, percent_encoded};
use base::labels::Labels;
use base::number;
use base::period::Period;
use base::sample::Timestamp;
use bytes::Bytes;
use promql::Query;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long an expression may take where nothing is said.
const TIMEOUT: Period = Period::from_secs(30);
/// The most bytes of an answer.
const MAX_ANSWER: usize = 64 << 20;

client_settings! {
    /// The section `remote` of `storage`, as written.
    pub struct RemoteStoreConfig {
        /// Where it is: what stands before `/api/v1/query`.
        pub url: Spanned<String>,
        /// How long an expression may take; `30s` where nothing is said.
        #[serde(default)]
        pub timeout: Option<Period>,
    }
}

/// A store that evaluates for us.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    /// Without a slash at its end.
    url: String,
    access: HttpAccess,
    timeout: Duration,
}

/// The store for those who wait for it, off the runtime's threads.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    store: Arc<RemoteStore>,
    runtime: Handle,
}

impl RemoteStoreConfig {
    /// The store, reporting what is wrong; relative paths are relative to `folder`.
    pub fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<RemoteStore> {
        let url = self.url.value.trim_end_matches('/');
        let uri: Option<Uri> = url.parse().ok();
        let sound = uri.is_some_and(|uri| Origin::of(&uri).is_ok() && uri.query().is_none());
        if !sound {
            let message = format!("`{}` is not an http or https URL of a store", self.url.value);
            let help = "write what stands before `/api/v1/query`, like `http://store.example:8428`";
            diagnostics.report_with_help(&self.url, message, help);
        }
        let access = self.http(folder).build_following(place, diagnostics)?;
        let timeout = self.timeout.filter(|t| !t.is_zero()).unwrap_or(TIMEOUT).duration();
        sound.then(|| RemoteStore { url: url.to_owned(), access, timeout })
    }
}

impl RemoteStore {
    /// Asks for `target`, a path with its query, by `method`; `form` is the body, of this type.
    ///
    /// # Errors
    ///
    /// There was no whole answer, and why. A status that is no success is an answer.
    pub async fn ask(
        &self,
        method: Method,
        target: &str,
        (content_type, form): (&str, Bytes),
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.url))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(form))
            .map_err(|error| error.to_string())?;
        let answer = fetch(&self.access, request, MAX_ANSWER, self.timeout).await;
        answer.map_err(|why| format!("the store {}: {why}", self.url))
    }

    /// The values of `query` at `at`.
    async fn instant(&self, query: &Query, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
        let text = query.to_string();
        // VictoriaMetrics would look at half a minute ago; others do not know the parameter.
        let form = format!(
            "query={}&time={}&timeout={}s&nocache=1&latency_offset=1ms",
            percent_encoded(&text),
            at.seconds(),
            self.timeout.as_secs().max(1)
        );
        let form = ("application/x-www-form-urlencoded", Bytes::from(form));
        let answer = self.ask(Method::POST, "/api/v1/query", form).await?;
        let read = read(&answer.body);
        read.map_err(|why| format!("the store {}: status {}: {why}", self.url, answer.status))
    }
}

impl Elsewhere {
    /// The store, for whoever runs on this runtime; nothing where there is none.
    pub fn here(store: Arc<RemoteStore>) -> Option<Self> {
        Some(Self { store, runtime: Handle::try_current().ok()? })
    }

    /// The values of `query` at `at`. Waits, so it is not to be called on the runtime's own threads.
    ///
    /// # Errors
    ///
    /// The store gave no whole answer, and why; not within `longest`, or before `stop`.
    pub fn instant(
        &self,
        query: &Query,
        at: Timestamp,
        (longest, stop): (Duration, &CancellationToken),
    ) -> Result<Vec<(Labels, f64)>, String> {
        let asking = timeout(longest, self.store.instant(query, at));
        match self.runtime.block_on(stop.run_until_cancelled(asking)) {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(format!(
                "the store {} gave no answer within {} (--query.timeout)",
                self.store.url,
                Period::from(longest)
            )),
            None => Err("query was cancelled".to_owned()),
        }
    }
}

/// The values in an answer to an instant query.
fn read(body: &[u8]) -> Result<Vec<(Labels, f64)>, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "the answer is no JSON")?;
    if answer["status"] != "success" {
        return Err(answer["error"].as_str().unwrap_or("it does not say why").to_owned());
    }
    if answer["isPartial"] == true {
        return Err("the answer is only a part of it".to_owned());
    }
    let data = &answer["data"];
    let value = |pair: &Value| {
        let text = pair[1].as_str().ok_or("a value is missing")?;
        number::parse(text).ok_or_else(|| format!("`{text}` is no value"))
    };
    match (data["resultType"].as_str(), data["result"].as_array()) {
        (Some("scalar"), _) => Ok(vec![(Labels::empty(), value(&data["result"])?)]),
        (Some("vector"), Some(result)) => {
            let sample = |sample: &Value| {
                if sample.get("histogram").is_some() {
                    return Err("native histograms are not read from other stores".to_owned());
                }
                let labels = sample["metric"].as_object().ok_or("labels are missing")?;
                let pairs = labels.iter().map(|(name, v)| (name, v.as_str().unwrap_or_default()));
                Ok((Labels::from_pairs(pairs), value(&sample["value"])?))
            };
            result.iter().map(sample).collect()
        }
        _ => Err("the answer is neither a vector nor a scalar".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_store_answers() {
        let check = |body: &str, expected: Result<&[(&str, f64)], &str>| {
            let got = read(body.as_bytes());
            let got = got.map(|all| {
                all.into_iter().map(|(l, value)| (l.to_string(), value)).collect::<Vec<_>>()
            });
            let expected = expected.map(|all| {
                all.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect()
            });
            assert_eq!(got, expected.map_err(str::to_owned), "{body}");
        };
        let vector = |result: &str| {
            format!(
                "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{result}]}}}}"
            )
        };
        check(&vector(""), Ok(&[]));
        let sample = r#"{"metric":{"__name__":"up","a":"b"},"value":[1.5,"+Inf"]}"#;
        check(&vector(sample), Ok(&[("up{a=\"b\"}", f64::INFINITY)]));
        check(
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2.5"]}}"#,
            Ok(&[("{}", 2.5)]),
        );
        check(r#"{"status":"error","error":"too much"}"#, Err("too much"));
        check(r#"{"status":"success","isPartial":true}"#, Err("the answer is only a part of it"));
        check("<html>", Err("the answer is no JSON"));
        check(&vector(r#"{"metric":{},"value":[1,"x"]}"#), Err("`x` is no value"));
        check(&vector(r#"{"metric":{}}"#), Err("a value is missing"));
        check(
            &vector(r#"{"metric":{},"histogram":[1,{}]}"#),
            Err("native histograms are not read from other stores"),
        );
        check(
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            Err("the answer is neither a vector nor a scalar"),
        );
    }

    #[test]
    fn an_address_that_is_none_is_told_where_it_stands() {
        for (url, sound) in [("http://x:8428/", true), ("ftp://x", false), ("http://x/?a=b", false)]
        {
            let mut diagnostics = Diagnostics::new("veilleur.yml");
            let yaml = format!("url: '{url}'\n");
            let config: RemoteStoreConfig = base::yaml::read(&yaml, &mut diagnostics).unwrap();
            let built = config.build(Place::default(), Path::new("/"), &mut diagnostics);
            assert_eq!(built.is_some(), sound, "{url}");
            let told = diagnostics.to_string();
            assert_eq!(told.starts_with("veilleur.yml:1:6: "), !sound, "{told}");
        }
    }
}
