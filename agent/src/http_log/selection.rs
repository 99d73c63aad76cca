//! The selection of the requests that are shown.

use std::{str::FromStr, time::Duration};

use clap::Args;
use traffictrace_http::{Exchange, Status};

use crate::host::duration;

/// Requests to show; all if no option is given.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which requests to show (the totals at the end count all of them)")]
pub(crate) struct SelectionArgs {
    /// Only responses with these statuses: codes such as 404, classes such as 5xx, `none` for requests without a
    /// response, `unknown` for statuses that could not be read.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<StatusPattern>,

    /// Only paths that begin with this text. With a `*`, which stands for any characters, the whole path must match, as
    /// /users/*/orders. May be given several times.
    #[arg(long, value_name = "PATH")]
    path: Vec<PathPattern>,

    /// Only these methods, such as GET or POST.
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    method: Vec<String>,

    /// Only requests that took longer than this, such as 200ms, from their first byte to the response's last.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    slower: Option<Duration>,
}

impl SelectionArgs {
    /// Returns true if no filter is given, so that every request is shown.
    pub(super) fn takes_all(&self) -> bool {
        self.status.is_empty() && self.path.is_empty() && self.method.is_empty() && self.slower.is_none()
    }

    /// Returns true if the request passes all filters.
    pub(super) fn takes(&self, exchange: &Exchange) -> bool {
        let any = |empty: bool, matches: bool| empty || matches;
        any(self.status.is_empty(), self.status.iter().any(|status| status.matches(exchange.status)))
            && any(self.path.is_empty(), self.path.iter().any(|path| path.matches(&exchange.path)))
            && any(
                self.method.is_empty(),
                self.method.iter().any(|method| method.eq_ignore_ascii_case(&exchange.method)),
            )
            && self.slower.is_none_or(|limit| {
                u128::from(exchange.ended.saturating_sub(exchange.began)) > limit.as_nanos()
            })
    }
}

/// A value of `--status`: a status or a group of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusPattern {
    Code(u16),
    /// All codes with this first digit, such as 5 for 5xx.
    Class(u16),
    NoResponse,
    Unknown,
}

impl StatusPattern {
    fn matches(self, status: Status) -> bool {
        match (self, status) {
            (Self::Code(wanted), Status::Code(code)) => wanted == code,
            (Self::Class(wanted), Status::Code(code)) => wanted == code / 100,
            (Self::NoResponse, Status::NoResponse) | (Self::Unknown, Status::Unknown) => true,
            _ => false,
        }
    }
}

impl FromStr for StatusPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        match (text.as_str(), text.strip_suffix("xx")) {
            ("none", _) => return Ok(Self::NoResponse),
            ("unknown", _) => return Ok(Self::Unknown),
            (_, Some(class)) => {
                if let Ok(class @ 1..=9) = class.parse() {
                    return Ok(Self::Class(class));
                }
            }
            (code, None) => {
                if let Ok(code @ 100..=999) = code.parse() {
                    return Ok(Self::Code(code));
                }
            }
        }
        Err("write a code such as 404, a class such as 5xx, `none` or `unknown`".to_owned())
    }
}

/// A value of `--path`: the beginning of a path, or a whole path in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PathPattern(String);

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(['/', '*']) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a path begins with `/`, or with `*` for any beginning".to_owned())
        }
    }
}

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return path.starts_with(&self.0) };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(path) = path.strip_prefix(first).and_then(|path| path.strip_suffix(last)) else {
            return false;
        };
        // The texts between stars must occur in this order. Taking the first occurrence of each leaves the most room
        // for the following ones.
        let mut left = path;
        middle.split('*').all(|part| match left.split_once(part) {
            Some((_, after)) => {
                left = after;
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::http_log::testing::exchange;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        selection: SelectionArgs,
    }

    fn selection(arguments: &[&str]) -> Result<SelectionArgs, String> {
        let cli = Cli::try_parse_from([&["http"], arguments].concat());
        cli.map(|cli| cli.selection).map_err(|error| error.to_string())
    }

    #[test]
    fn statuses_are_codes_classes_and_what_has_none() {
        let selection = selection(&["--status", "5xx,404,None"]).unwrap();
        for (status, taken) in [
            (Status::Code(500), true),
            (Status::Code(599), true),
            (Status::Code(404), true),
            (Status::Code(403), false),
            (Status::Code(200), false),
            (Status::NoResponse, true),
            (Status::Unknown, false),
        ] {
            assert_eq!(selection.takes(&Exchange { status, ..exchange() }), taken, "{status:?}");
        }
        for bad in ["", "xx", "0xx", "99", "1000", "20x", "ok", "-1xx", "55xx"] {
            assert!(StatusPattern::from_str(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_prefixes_unless_they_have_a_star() {
        for (pattern, path, taken) in [
            ("/users", "/users/7", true),
            ("/users", "/usersettings", true),
            ("/users", "/v1/users", false),
            ("/users/*/orders", "/users/7/orders", true),
            ("/users/*/orders", "/users/7/8/orders", true),
            ("/users/*/orders", "/users/7/orders/1", false),
            ("/users/*/orders/*", "/users/7/orders/1", true),
            ("*.png", "/a/b.png", true),
            ("*.png", "/a/b.png.html", false),
            ("/a*a", "/a", false),
            ("/a*b*c*d", "/axxbxxcxxd", true),
            ("/a*b*c*d", "/axxcxxbxxd", false),
            ("/**", "/", true),
            ("*", "", true),
        ] {
            assert_eq!(PathPattern(pattern.into()).matches(path), taken, "{pattern} {path}");
        }
        assert!(selection(&["--path", "users"]).is_err());
    }

    #[test]
    fn every_filter_must_match() {
        let selection = selection(&["--method", "get,PUT", "--slower", "200ms", "--path", "/"]).unwrap();
        let slow = Exchange { began: 5, ended: 200_000_006, ..exchange() };
        assert!(selection.takes(&slow));
        assert!(!selection.takes(&Exchange { ended: 200_000_005, ..slow.clone() }), "not longer");
        assert!(!selection.takes(&Exchange { method: "POST".into(), ..slow.clone() }));
        assert!(!selection.takes(&Exchange { path: String::new(), ..slow }));
        assert!(!selection.takes_all());
        assert!(SelectionArgs::default().takes_all() && SelectionArgs::default().takes(&exchange()));
    }
}
