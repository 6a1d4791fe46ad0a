//! A blocking client, one connection pool per thread.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::runtime::Runtime;

/// A client of one service.
pub(crate) struct Http {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
}

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The answer didn't come, or not to its end: what was asked may have happened or not.
#[derive(Debug)]
pub(crate) struct Unknown;

impl Http {
    pub(crate) fn new(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(90)).build().unwrap();
        Self { runtime, client, url: url.to_owned() }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Reply, Unknown> {
        self.runtime.block_on(async {
            let mut request = self.client.request(method, format!("{}{path}", self.url));
            if !kind.is_empty() {
                request = request.header("content-type", kind).body(body);
            }
            let response = request.send().await.map_err(|_| Unknown)?;
            let status = response.status().as_u16();
            let body = response.bytes().await.map_err(|_| Unknown)?.to_vec();
            Ok(Reply { status, body })
        })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Reply, Unknown> {
        self.send(Method::GET, path, "", Vec::new())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Reply, Unknown> {
        self.send(Method::POST, path, "application/json", body.to_string().into_bytes())
    }

    #[allow(dead_code, reason = "shared by several test programs")]
    pub(crate) fn delete(&self, path: &str) -> Result<Reply, Unknown> {
        self.send(Method::DELETE, path, "", Vec::new())
    }

    pub(crate) fn put_chunk(&self, id: &str, bytes: Vec<u8>) -> Result<Reply, Unknown> {
        let path = format!("/compute/chunks/{id}");
        self.send(Method::PUT, &path, "application/octet-stream", bytes)
    }

    #[allow(dead_code, reason = "shared by several test programs")]
    pub(crate) fn import(&self, archive: Vec<u8>) -> Result<Reply, Unknown> {
        self.send(Method::POST, "/compute/record/import", "application/octet-stream", archive)
    }

    /// GET of JSON that must be there.
    #[track_caller]
    #[allow(dead_code, reason = "shared by several test programs")]
    pub(crate) fn json(&self, path: &str) -> Value {
        self.get(path).unwrap_or_else(|_| panic!("no answer to GET {path}")).expect(200)
    }
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.value()
    }
}
