//! Requests that are sent only to see whether they are refused, and by which check.

use std::fmt::{self, Display};

use kube::{
    Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{Request, params::GetParams, request},
};
use serde_json::Value;

use crate::support::{Result, TestError};

/// A request, by the path of the resource. Requests that would change something are dry runs, so that nothing happens
/// if they are allowed.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Attempt {
    List(String),
    Get(String, String),
    /// Reads a subresource, such as a pod's log.
    GetPart(String, String, &'static str),
    Create(String, Value),
    /// Creates a subresource, such as a token of an account.
    CreatePart(String, String, &'static str, Value),
    Replace(String, String, Value),
    /// Replaces the status.
    ReplaceStatus(String, String, Value),
    Patch(String, String, Value),
    Delete(String, String),
    DeleteAll(String),
}

/// The answer to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request is allowed.
    Allowed,
    /// The account lacks the permission (RBAC).
    NoRight,
    /// An admission policy refuses the request with this message.
    Policy(String),
    /// The API server refuses the request for another reason.
    Other(String),
}

impl Attempt {
    /// Sends the request and returns the answer.
    ///
    /// # Errors
    ///
    /// Fails when the API server does not answer.
    pub async fn send(&self, client: &Client) -> Result<Answer> {
        let mut attempt = self.clone();
        loop {
            let request =
                attempt.request().map_err(|error| TestError::unexpected(format!("{attempt:?}"), error))?;
            match client.request_text(request).await {
                Ok(_) => return Ok(Answer::Allowed),
                // Conflict: the product has written the object since the test read it. That says nothing about
                // permissions, so the attempt is repeated with the new version.
                Err(kube::Error::Api(status)) if status.code == 409 && attempt.refresh(client).await? => {}
                Err(kube::Error::Api(status)) => return Ok(Answer::of(&status.message)),
                Err(error) => return Err(TestError::kube(format!("send {attempt:?}"))(error)),
            }
        }
    }

    /// Updates the resource version of a replacement from a list of the objects; returns false for other attempts.
    async fn refresh(&mut self, client: &Client) -> Result<bool> {
        let Self::Replace(path, name, value) = self else { return Ok(false) };
        let this = ListParams::default().fields(&format!("metadata.name={name}"));
        let request = Request::new(path.clone()).list(&this);
        let request = request.map_err(|error| TestError::unexpected(format!("a list of {path}"), error))?;
        let found: Value = client.request(request).await.map_err(TestError::kube(format!("list {path}")))?;
        let version = found["items"][0]["metadata"]["resourceVersion"].clone();
        let is_newer = value["metadata"]["resourceVersion"] != version;
        value["metadata"]["resourceVersion"] = version;
        Ok(is_newer)
    }

    fn request(&self) -> std::result::Result<http::Request<Vec<u8>>, request::Error> {
        let post = PostParams { dry_run: true, ..PostParams::default() };
        let patch = PatchParams { dry_run: true, ..PatchParams::default() };
        let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let few = ListParams::default().limit(1);
        let body = |value: &Value| value.to_string().into_bytes();
        match self {
            Self::List(path) => Request::new(path).list(&few),
            Self::Get(path, name) => Request::new(path).get(name, &GetParams::default()),
            Self::GetPart(path, name, part) => Request::new(path).get_subresource(part, name),
            Self::Create(path, value) => Request::new(path).create(&post, body(value)),
            Self::CreatePart(path, name, part, value) => {
                Request::new(path).create_subresource(part, name, &post, body(value))
            }
            Self::Replace(path, name, value) => Request::new(path).replace(name, &post, body(value)),
            Self::ReplaceStatus(path, name, value) => {
                Request::new(path).replace_subresource("status", name, &post, body(value))
            }
            Self::Patch(path, name, value) => Request::new(path).patch(name, &patch, &Patch::Merge(value)),
            Self::Delete(path, name) => Request::new(path).delete(name, &delete),
            Self::DeleteAll(path) => Request::new(path).delete_collection(&delete, &ListParams::default()),
        }
    }
}

impl Answer {
    fn of(message: &str) -> Self {
        if let Some((_, said)) = message.split_once("denied request: ") {
            Self::Policy(said.to_owned())
        } else if message.contains(" cannot ") {
            Self::NoRight
        } else {
            Self::Other(message.to_owned())
        }
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::NoRight => f.write_str("no right (RBAC)"),
            Self::Policy(message) => write!(f, "admission policy: {message}"),
            Self::Other(message) => write!(f, "refused: {message}"),
        }
    }
}
