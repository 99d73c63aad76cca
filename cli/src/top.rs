//! `kubectl traffictrace top`.

use std::process::ExitCode;

use crate::{cluster::ClusterArgs, error::CliError};

/// Follow a trace live.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let _cluster = cluster.connect().await?;
    Ok(ExitCode::SUCCESS)
}
