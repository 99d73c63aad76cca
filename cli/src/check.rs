//! `kubectl traffictrace check`.

use std::process::ExitCode;

use crate::{cluster::ClusterArgs, error::CliError};

/// Tell whether tracing works here, and what is missing.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let _cluster = cluster.connect().await?;
    Ok(ExitCode::SUCCESS)
}
