//! The cluster and the namespace that a command uses, chosen as kubectl chooses them.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use kube::{
    Api, Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{timeout::TimeoutLayer, util::option_layer};
use traffictrace_crd::{GROUP, TrafficTrace, VERSION};

use crate::{
    error::{CliError, is_unknown_resource},
    text::quoted,
};

/// Environment variable with the paths of the configuration files.
const KUBECONFIG: &str = "KUBECONFIG";

/// Options of every command, named as kubectl names them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Namespace to work in [default: that of the context].
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Context of the kubeconfig file to use [default: its current context].
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// Cluster of the kubeconfig file to use [default: that of the context].
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,

    /// User of the kubeconfig file to use [default: that of the context].
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,

    /// Path of the kubeconfig file [default: the files of $KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// User to act as, such as system:serviceaccount:shop:default.
    #[arg(long = "as", global = true, value_name = "USER")]
    impersonate: Option<String>,

    /// Group to act as; can be repeated.
    #[arg(long, global = true, value_name = "GROUP")]
    as_group: Vec<String>,

    /// Maximum time to wait for the response to one request, such as 10s or 1m; 0 waits for ever.
    #[arg(long, global = true, value_name = "TIME", default_value = "0", value_parser = request_timeout)]
    request_timeout: Duration,
}

/// Parses a time as kubectl does: a number of seconds, or numbers with units.
fn request_timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    if let Some(milliseconds) = text.strip_suffix("ms").and_then(|number| number.parse().ok()) {
        return Ok(Duration::from_millis(milliseconds));
    }
    let duration = traffictrace_crd::Duration::new(text).get();
    duration.map_err(|_| "write a number of seconds, or a time such as 500ms, 10s or 1m".to_owned())
}

/// A cluster and one of its namespaces.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Address of the API server, for messages.
    pub(crate) url: String,
    pub(crate) namespace: String,
}

impl ClusterArgs {
    /// Returns the cluster that the options and the configuration name, without sending a request.
    ///
    /// # Errors
    ///
    /// [`CliError::Config`] if there is no configuration, or one that cannot be used.
    pub(crate) async fn connect(&self) -> Result<Cluster, CliError> {
        let mut config = self.config().await?;
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !self.as_group.is_empty() {
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let limit = Some(self.request_timeout).filter(|limit| !limit.is_zero());
        if let Some(limit) = limit {
            config.connect_timeout = Some(limit);
        }
        let client = ClientBuilder::try_from(config)
            .map_err(|cause| {
                CliError::Config(format!("cannot use the configuration of the cluster at {url}: {cause}"))
            })?
            .with_layer(&option_layer(limit.map(TimeoutLayer::new)))
            .build();
        Ok(Cluster { client, url, namespace })
    }

    async fn config(&self) -> Result<Config, CliError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let Some(file) = self.kubeconfig()? else {
            return Config::incluster().map_err(|_| {
                CliError::Config(
                    "no cluster is configured: there is no kubeconfig file and this is no pod; give --kubeconfig or set \
                     KUBECONFIG"
                        .to_owned(),
                )
            });
        };
        Config::from_custom_kubeconfig(file, &options).await.map_err(config_error)
    }

    /// Reads and merges the configuration files; `None` if there are none.
    fn kubeconfig(&self) -> Result<Option<Kubeconfig>, CliError> {
        if let Some(path) = &self.kubeconfig {
            return Kubeconfig::read_from(path).map(Some).map_err(config_error);
        }
        let paths: Vec<PathBuf> = match std::env::var_os(KUBECONFIG).filter(|paths| !paths.is_empty()) {
            Some(paths) => std::env::split_paths(&paths).collect(),
            None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
        };
        // As in kubectl, a file that does not exist is skipped.
        let mut merged: Option<Kubeconfig> = None;
        for path in paths.iter().filter(|path| path.exists()) {
            let file = Kubeconfig::read_from(path).map_err(config_error)?;
            merged = Some(merged.unwrap_or_default().merge(file).map_err(config_error)?);
        }
        Ok(merged)
    }
}

fn config_error(error: KubeconfigError) -> CliError {
    CliError::Config(match error {
        KubeconfigError::LoadContext(name) => format!("context {} does not exist", quoted(&name)),
        other => format!("cannot use the kubeconfig file: {other}"),
    })
}

impl Cluster {
    /// API client for the traces of the namespace.
    pub(crate) fn traces(&self) -> Api<TrafficTrace> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Reads one trace of the namespace.
    ///
    /// # Errors
    ///
    /// [`CliError`] if the trace does not exist or cannot be read.
    pub(crate) async fn trace(&self, name: &str) -> Result<TrafficTrace, CliError> {
        match self.traces().get(name).await {
            Ok(trace) => Ok(trace),
            Err(error) => Err(self.explain(error).await),
        }
    }

    /// Converts the error of a request. If the definitions are missing, so are the roles that the chart installs, and
    /// most users get a refusal instead of "no such resource". So after a refusal this asks the API server whether it has
    /// the definitions.
    pub(crate) async fn explain(&self, error: kube::Error) -> CliError {
        if matches!(&error, kube::Error::Api(status) if status.code == 403) && !self.is_installed().await {
            return CliError::NotInstalled { url: self.url.clone() };
        }
        CliError::of(error, &self.url)
    }

    /// Returns true if the API server has the definition of traces. Every user may ask for it.
    async fn is_installed(&self) -> bool {
        let known = self.client.list_api_group_resources(&format!("{GROUP}/{VERSION}")).await;
        !matches!(known, Err(kube::Error::Api(status)) if is_unknown_resource(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kubectl_reads_them() {
        assert_eq!(request_timeout("500ms"), Ok(Duration::from_millis(500)));
        for (text, seconds) in [("0", 0), ("15", 15), ("10s", 10), ("1m30s", 90)] {
            assert_eq!(request_timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(request_timeout("soon").is_err());
    }
}
