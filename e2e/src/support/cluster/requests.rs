//! Requests of the agents and the controller, from the API server's own audit log.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

use super::levers::Levers;
use crate::support::{Result, TestError};

/// A position in the audit log.
#[derive(Debug)]
pub struct Mark {
    log: PathBuf,
    offset: u64,
}

/// An account that sends requests: the agent of a node, or the controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The agent of a node.
    Agent(String),
    /// The controller.
    Controller,
}

/// Number of requests of one account by verb and resource, such as `get traffictraces`.
pub type Requests = BTreeMap<String, u32>;

impl Levers {
    /// Marks the current end of the audit log.
    ///
    /// # Errors
    ///
    /// Fails when the log cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let log = PathBuf::from(self.run(&["audit-log"])?.trim());
        let length = std::fs::metadata(&log).map_err(TestError::io("look at the audit log"))?.len();
        Ok(Mark { log, offset: length })
    }
}

impl Mark {
    /// Returns the requests since the mark, by account. A watch is logged when it ends or times out.
    ///
    /// # Errors
    ///
    /// Fails when the log cannot be read.
    pub fn requests(&self) -> Result<BTreeMap<Account, Requests>> {
        let mut log = File::open(&self.log).map_err(TestError::io("open the audit log"))?;
        log.seek(SeekFrom::Start(self.offset)).map_err(TestError::io("read the audit log"))?;
        let mut all: BTreeMap<Account, Requests> = BTreeMap::new();
        for line in BufReader::new(log).lines() {
            let line = line.map_err(TestError::io("read the audit log"))?;
            // The API server may not have written the last line completely.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            // A watch has two lines: one when its answer starts, and one when it has ended.
            if event["stage"] == "ResponseStarted" {
                continue;
            }
            let Some(account) = account(&event) else { continue };
            let object = &event["objectRef"];
            let subresource = object["subresource"].as_str().map(|name| format!("/{name}"));
            let what = format!(
                "{} {}{}",
                event["verb"].as_str().unwrap_or("?"),
                object["resource"].as_str().or(event["requestURI"].as_str()).unwrap_or("?"),
                subresource.unwrap_or_default()
            );
            *all.entry(account).or_default().entry(what).or_default() += 1;
        }
        Ok(all)
    }
}

fn account(event: &Value) -> Option<Account> {
    let user = event["user"]["username"].as_str()?;
    if user.ends_with("-controller") {
        return Some(Account::Controller);
    }
    let node = &event["user"]["extra"]["authentication.kubernetes.io/node-name"][0];
    node.as_str().map(|node| Account::Agent(node.to_owned()))
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(node) => write!(f, "the agent of {node}"),
            Self::Controller => f.write_str("the controller"),
        }
    }
}
