//! Requests to the API server as another user: by impersonation, or with that user's token.

use std::fmt::{self, Display};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::{Api, Client, Config, api::ListParams};
use serde_json::json;

use super::PRODUCT;
use crate::support::{Result, TestError};

/// Name of the user attribute with the node of the pod that a token is bound to.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// A user of the API server.
#[derive(Clone, Debug)]
pub struct Identity {
    user: String,
    groups: Vec<String>,
    node: Option<String>,
}

impl Identity {
    /// Returns a user who is only in the groups that the API server adds.
    pub fn user(name: impl Into<String>) -> Self {
        Self { user: name.into(), groups: Vec::new(), node: None }
    }

    /// Adds the user to a group.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }

    /// Gives the user a token that is bound to a pod of this node.
    #[must_use]
    pub fn on_node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Name of the user.
    pub fn name(&self) -> &str {
        &self.user
    }

    /// Returns a client whose requests are made as this user. The user in `KUBECONFIG` must be allowed to impersonate.
    ///
    /// # Errors
    ///
    /// Fails when there is no cluster, or when a name is not valid in a header.
    pub async fn client(&self) -> Result<Client> {
        let mut config = config().await?;
        let mut headers = vec![("impersonate-user".to_owned(), &self.user)];
        headers.extend(self.groups.iter().map(|group| ("impersonate-group".to_owned(), group)));
        let extra = format!("impersonate-extra-{}", NODE_NAME.replace('/', "%2f"));
        headers.extend(self.node.iter().map(|node| (extra.clone(), node)));
        for (name, value) in headers {
            let unsendable = |error: &dyn Display| TestError::unexpected(format!("the header {name}"), error);
            config.headers.push((
                name.parse().map_err(|error| unsendable(&error))?,
                value.parse().map_err(|error| unsendable(&error))?,
            ));
        }
        Client::try_from(config).map_err(TestError::kube(format!("ask as {self}")))
    }
}

impl Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.node.as_ref().map_or(Ok(()), |node| write!(f, " on {node}"))
    }
}

/// Returns a client whose only credential is a bearer token.
///
/// # Errors
///
/// Fails when there is no cluster.
pub async fn client_with_token(token: &str) -> Result<Client> {
    let mut config = config().await?;
    config.auth_info = serde_json::from_value(json!({ "token": token }))
        .map_err(|error| TestError::unexpected("a token", error))?;
    Client::try_from(config).map_err(TestError::kube("ask with a token"))
}

async fn config() -> Result<Config> {
    Config::infer().await.map_err(|error| TestError::unexpected("the cluster of KUBECONFIG", error))
}

/// The service accounts of the installed product.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Namespace that the product is installed in.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub daemon_set: String,
    /// Name of the controller's Deployment.
    pub deployment: String,
    /// Name of the agents' service account.
    pub agent: String,
    /// Name of the controller's service account.
    pub controller: String,
}

impl Accounts {
    /// Finds the service accounts of the product in this cluster.
    ///
    /// # Errors
    ///
    /// Fails when the product is not installed.
    pub async fn find(client: &Client) -> Result<Self> {
        let ours = ListParams::default().labels(PRODUCT);
        let agents = Api::<DaemonSet>::all(client.clone()).list(&ours).await;
        let agents = agents.map_err(TestError::kube("list the product's DaemonSets"))?;
        let controllers = Api::<Deployment>::all(client.clone()).list(&ours).await;
        let controllers = controllers.map_err(TestError::kube("list the product's Deployments"))?;
        let missing = || TestError::unexpected("the cluster", "without TrafficTrace; run `make deploy`");
        let agents = agents.items.into_iter().next().ok_or_else(missing)?;
        let controller = controllers.items.into_iter().next().ok_or_else(missing)?;
        let account = agents.spec.template.spec.and_then(|spec| spec.service_account_name);
        let of_controller = controller.spec.template.spec.and_then(|spec| spec.service_account_name);
        Ok(Self {
            namespace: agents.metadata.namespace.unwrap_or_default(),
            daemon_set: agents.metadata.name.unwrap_or_default(),
            deployment: controller.metadata.name.unwrap_or_default(),
            agent: account.ok_or_else(missing)?,
            controller: of_controller.ok_or_else(missing)?,
        })
    }

    /// Identity of a node's agent.
    pub fn agent_on(&self, node: &str) -> Identity {
        self.agents().on_node(node)
    }

    /// Identity of the agents' account with a token that is bound to no pod.
    pub fn agents(&self) -> Identity {
        Identity::user(format!("system:serviceaccount:{}:{}", self.namespace, self.agent))
    }

    /// Identity of the controller.
    pub fn controller(&self) -> Identity {
        Identity::user(format!("system:serviceaccount:{}:{}", self.namespace, self.controller))
    }
}
