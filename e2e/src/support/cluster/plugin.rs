//! The kubectl plugin as a user runs it: a program with a kubeconfig file.

use std::{io::Write as _, path::PathBuf, process::Command, time::Duration};

use k8s_openapi::api::{
    authentication::v1::TokenRequest, authorization::v1::SelfSubjectAccessReview, core::v1::ServiceAccount,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::Namespace;
use crate::support::{
    Result, TestError, needs,
    process::{Ended, Process},
    wait,
};

/// Name of the account with the role `edit`.
const ACCOUNT: &str = "an-editor";
/// Maximum time until the permissions of a new account are effective.
const BOUND: Duration = Duration::from_secs(30);
/// Time limit of a command that does not follow a trace.
const ANSWERED: Duration = Duration::from_secs(30);

/// The plugin with a kubeconfig file for one account, whose current context names one namespace.
#[derive(Debug)]
pub struct Plugin {
    program: PathBuf,
    kubeconfig: NamedTempFile,
}

impl Plugin {
    /// Returns the plugin for an account that has the role `edit` in the namespace, and no other right.
    ///
    /// # Errors
    ///
    /// Fails when the plugin was not built, or the API server refuses the account.
    pub async fn of_editor(namespace: &Namespace) -> Result<Self> {
        let account: ServiceAccount = object(json!({"metadata": {"name": ACCOUNT}}))?;
        let accounts = namespace.api::<ServiceAccount>();
        let created = accounts.create(&PostParams::default(), &account).await;
        created.map_err(TestError::kube("create an account"))?;
        let binding: RoleBinding = object(json!({
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace.name()}],
        }))?;
        let bound = namespace.api::<RoleBinding>().create(&PostParams::default(), &binding).await;
        bound.map_err(TestError::kube("bind the role edit"))?;
        let request: TokenRequest = object(json!({"spec": {"audiences": [], "expirationSeconds": 3600}}))?;
        let token = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
        let token = token.map_err(TestError::kube("ask for a token"))?.status.map(|status| status.token);
        let plugin = Self::with_user(namespace, Some(json!({"token": token})))?;
        // The controller manager aggregates roles only some time after they were installed.
        let client = plugin.client().await?;
        wait::until_async("the right to trace", BOUND, async || {
            let may = may_delete_traces(&client, namespace.name()).await?;
            Ok(if may { Ok(()) } else { Err("not yet".to_owned()) })
        })
        .await?;
        Ok(plugin)
    }

    /// Returns the plugin for the user that `KUBECONFIG` names.
    ///
    /// # Errors
    ///
    /// Fails when the plugin was not built.
    pub fn of_admin(namespace: &Namespace) -> Result<Self> {
        Self::with_user(namespace, None)
    }

    fn with_user(namespace: &Namespace, user: Option<Value>) -> Result<Self> {
        let unusable = |error: &dyn std::fmt::Display| TestError::unexpected("the file of KUBECONFIG", error);
        let file = Kubeconfig::read().map_err(|error| unusable(&error))?;
        let mut file = serde_json::to_value(file).map_err(|error| unusable(&error))?;
        let current = file["current-context"].clone();
        let contexts = file["contexts"].as_array_mut().into_iter().flatten();
        for context in contexts.filter(|context| context["name"] == current) {
            context["context"]["namespace"] = json!(namespace.name());
            if user.is_some() {
                context["context"]["user"] = json!(ACCOUNT);
            }
        }
        if let Some(user) = user {
            file["users"] = json!([{"name": ACCOUNT, "user": user}]);
        }
        let failed = || TestError::io("write a kubeconfig file");
        let mut kubeconfig = NamedTempFile::new().map_err(failed())?;
        // Every JSON text is valid YAML.
        kubeconfig.write_all(file.to_string().as_bytes()).map_err(failed())?;
        Ok(Self { program: needs::program("kubectl-traffictrace")?, kubeconfig })
    }

    async fn client(&self) -> Result<Client> {
        let unusable =
            |error: &dyn std::fmt::Display| TestError::unexpected("the account's kubeconfig", error);
        let file = Kubeconfig::read_from(self.kubeconfig.path()).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let config = config.map_err(|error| unusable(&error))?;
        Client::try_from(config).map_err(TestError::kube("ask as the account"))
    }

    /// Starts a command of the plugin.
    ///
    /// # Errors
    ///
    /// Fails when the plugin cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        Process::start(&mut self.command(arguments))
    }

    /// Starts a command of the plugin, with the lines of standard output and standard error in the order in
    /// which they come.
    ///
    /// # Errors
    ///
    /// Fails when the plugin cannot be started.
    pub fn start_merged(&self, arguments: &[&str]) -> Result<Process> {
        Process::start_merged(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        println!("kubectl traffictrace {}", arguments.join(" "));
        let mut command = Command::new(&self.program);
        command.args(arguments).env("KUBECONFIG", self.kubeconfig.path());
        command
    }

    /// Runs a command of the plugin to its end.
    ///
    /// # Errors
    ///
    /// Fails when the command does not end in time.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.start(arguments)?.wait(ANSWERED)
    }

    /// Runs a command of the plugin that succeeds; returns its output.
    ///
    /// # Errors
    ///
    /// Fails when the command fails.
    pub fn output(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.run(arguments)?;
        if ended.status.success() {
            return Ok(ended.lines.join("\n"));
        }
        Err(TestError::unexpected(format!("kubectl traffictrace {}", arguments.join(" ")), ended.stderr))
    }
}

async fn may_delete_traces(client: &Client, namespace: &str) -> Result<bool> {
    let review: SelfSubjectAccessReview = object(json!({"spec": {"resourceAttributes": {
        "group": traffictrace_crd::GROUP, "resource": "traffictraces", "verb": "delete", "namespace": namespace,
    }}}))?;
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let answer: SelfSubjectAccessReview = answer.map_err(TestError::kube("ask for the account's rights"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Converts JSON into an object of the API.
fn object<K: Serialize + DeserializeOwned>(value: Value) -> Result<K> {
    serde_json::from_value(value).map_err(|error| TestError::unexpected("the test's own object", error))
}
