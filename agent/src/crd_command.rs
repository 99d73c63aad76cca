//! `traffictrace crd`: prints the custom resource definitions, for `kubectl apply -f -`.

use std::io::{self, Write as _};

use traffictrace_crd::yaml::{YamlError, all_crds, all_crds_yaml, crd_yaml};

/// Print the custom resource definitions as YAML, for `kubectl apply -f -`
#[derive(Debug, clap::Args)]
pub(crate) struct CrdArgs {
    /// Print only this definition: traffictraces, traffictracereports or traffictraceprofiles (or the name of the
    /// kind)
    resource: Option<String>,
}

/// The definitions could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrdError {
    #[error(
        "there is no definition of {0:?}: write traffictraces, traffictracereports or traffictraceprofiles, or nothing for \
         all of them"
    )]
    Unknown(String),
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("cannot write the definitions to the standard output: {0}")]
    Output(#[source] io::Error),
}

/// Prints all definitions, or the requested one.
pub(crate) fn run(args: &CrdArgs) -> Result<(), CrdError> {
    let text = match &args.resource {
        None => all_crds_yaml()?,
        Some(wanted) => {
            let wanted = wanted.to_ascii_lowercase();
            let all = all_crds();
            let found = all
                .iter()
                .find(|(resource, _)| *resource == wanted || resource.trim_end_matches('s') == wanted);
            let (resource, crd) = found.ok_or(CrdError::Unknown(wanted))?;
            crd_yaml(resource, crd)?
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader of a pipe has closed it, which is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CrdError::Output),
    }
}
