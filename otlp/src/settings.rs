//! Settings of the export, read from OpenTelemetry's environment variables.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode_str;

use crate::error::SettingsError;
use crate::series::Limits;

/// URL path for metrics, added to a URL that is for all signals.
const METRICS_PATH: &str = "/v1/metrics";
/// Default timeout of a request, as the protocol specifies.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Default interval between two exports, as OpenTelemetry specifies.
const INTERVAL: Duration = Duration::from_secs(60);

/// A protocol by which metrics are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf in HTTP/1.1 requests; the receivers' standard port is 4318.
    #[default]
    HttpProtobuf,
    /// gRPC; the receivers' standard port is 4317.
    Grpc,
}

impl Protocol {
    /// Name of the protocol in the environment variables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

/// The receiver of metrics, and the choice of metrics.
#[derive(Clone, Debug)]
pub struct Settings {
    /// URL to which requests are sent; with gRPC, the part before the method.
    pub(crate) endpoint: Uri,
    pub(crate) protocol: Protocol,
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) gzip: bool,
    pub(crate) certificate: Option<PathBuf>,
    /// Attributes of the resource, in addition to those of this service.
    pub(crate) resource: Vec<(String, String)>,
    /// True if `process.network.io` is sent, in which traced processes choose the names.
    pub processes: bool,
    /// Limits of the number of series.
    pub limits: Limits,
}

impl Settings {
    /// Makes settings for a URL, such as the value of a flag. With HTTP, the path for metrics is added to the URL, as with
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`. All other settings come from the environment.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with the invalid variable; `name` stands for the URL's flag.
    pub fn of_endpoint(
        name: &str,
        url: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        Self::read((name, url, true), &variable)
    }

    /// Reads the settings from the environment; `variable` returns the value of a variable. `None` if the environment
    /// names no receiver, or `OTEL_SDK_DISABLED` is set.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with the invalid variable.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let own = variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
            .map(|url| ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url, false));
        let any =
            || variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT", url, true));
        let Some((name, url, of_all)) = own.or_else(any) else { return Ok(None) };
        Self::read((name, &url, of_all), &variable).map(Some)
    }

    fn read(
        (name, url, of_all_signals): (&str, &str, bool),
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let environment = Environment(variable);
        let protocol = match environment.get("PROTOCOL") {
            None => Protocol::default(),
            Some((variable, value)) => match value.as_str() {
                "http/protobuf" => Protocol::HttpProtobuf,
                "grpc" => Protocol::Grpc,
                _ => return Err(SettingsError::Protocol { variable, value }),
            },
        };
        let endpoint = endpoint_of(name, url, of_all_signals && protocol == Protocol::HttpProtobuf)?;
        let timeout =
            environment.get("TIMEOUT").map_or(Ok(TIMEOUT), |(name, value)| milliseconds(&name, &value))?;
        let name = "OTEL_METRIC_EXPORT_INTERVAL";
        let interval = variable(name).map_or(Ok(INTERVAL), |value| milliseconds(name, &value))?;
        let gzip = match environment.get("COMPRESSION") {
            None => false,
            Some((variable, value)) => match value.as_str() {
                "gzip" => true,
                "none" => false,
                _ => return Err(SettingsError::Compression { variable, value }),
            },
        };
        let headers = environment
            .get("HEADERS")
            .map_or_else(|| Ok(HeaderMap::new()), |(variable, list)| headers(&variable, &list))?;
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource = variable(name).map_or_else(|| Ok(Vec::new()), |list| pairs(name, &list))?;
        resource.extend(variable("OTEL_SERVICE_NAME").map(|value| ("service.name".to_owned(), value)));
        Ok(Self {
            endpoint,
            protocol,
            headers,
            timeout,
            interval,
            gzip,
            certificate: environment.get("CERTIFICATE").map(|(_, path)| path.into()),
            resource,
            processes: true,
            limits: Limits::default(),
        })
    }

    /// URL to which requests are sent.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// Interval between two exports, for callers that export repeatedly.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The protocol in use.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// The protocol's environment variables. A variable for metrics takes precedence over the one for all signals.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// Returns the name and the value of the variable that takes precedence.
    fn get(&self, name: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_METRICS_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
        names.into_iter().find_map(|name| {
            let value = (self.0)(&name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        })
    }
}

fn endpoint_of(variable: &str, value: &str, add_path: bool) -> Result<Uri, SettingsError> {
    let error = |cause: &str| SettingsError::Endpoint {
        variable: variable.into(),
        value: value.into(),
        cause: cause.into(),
    };
    let uri = Uri::from_str(value.trim()).map_err(|fault| error(&fault.to_string()))?;
    let mut parts = uri.into_parts();
    match parts.scheme.as_ref().map(http::uri::Scheme::as_str) {
        Some("http" | "https") => {}
        Some(_) => return Err(error("neither http:// nor https://")),
        None => return Err(error("no http:// or https:// in front")),
    }
    // The part before an @ would be a password, which belongs into headers.
    let authority = parts.authority.as_ref().map(http::uri::Authority::as_str);
    if authority.is_none_or(|authority| authority.contains('@')) {
        return Err(SettingsError::Endpoint {
            variable: variable.into(),
            value: "…@…".into(),
            cause: "a user or password in the URL; give it in OTEL_EXPORTER_OTLP_HEADERS".into(),
        });
    }
    if add_path {
        let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::path).trim_end_matches('/');
        let path = PathAndQuery::try_from(format!("{path}{METRICS_PATH}"));
        parts.path_and_query = Some(path.map_err(|fault| error(&fault.to_string()))?);
    }
    Uri::from_parts(parts).map_err(|fault| error(&fault.to_string()))
}

fn milliseconds(variable: &str, value: &str) -> Result<Duration, SettingsError> {
    match value.trim().parse() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
        _ => Err(SettingsError::Milliseconds { variable: variable.into(), value: value.into() }),
    }
}

fn headers(variable: &str, list: &str) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    for (number, (key, value)) in (1..).zip(pairs(variable, list)?) {
        let error = |fault| SettingsError::List { variable: variable.into(), number, fault };
        let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| error("no name of a header"))?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| error("no value of a header"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// Parses a list such as `key1=value1,key2=value2` in the format of W3C baggage: keys and values are percent-encoded.
fn pairs(variable: &str, list: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let mut pairs = Vec::new();
    for (number, entry) in (1..).zip(list.split(',')) {
        if entry.trim().is_empty() {
            continue;
        }
        let error = |fault| SettingsError::List { variable: variable.into(), number, fault };
        let (key, value) = entry.split_once('=').ok_or_else(|| error("without ="))?;
        let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(|text| text.into_owned());
        let key = decode(key).map_err(|_| error("no UTF-8"))?;
        if key.is_empty() {
            return Err(error("without a name before ="));
        }
        pairs.push((key, decode(value).map_err(|_| error("no UTF-8"))?));
    }
    Ok(pairs)
}
