//! The flame graph inside the page: in a sandboxed frame, so that its script and styles affect nothing outside it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use traffictrace_crd::human;

/// Maximum size of a picture in the page, in bytes. Its base64 in the page is a third larger.
pub const MAX_PICTURE: usize = 512 << 10;
/// Minimum and maximum height of the frame, in pixels. A higher picture scrolls.
const HEIGHTS: (u32, u32) = (120, 1600);

/// A flame graph, or the reason why the page has none.
pub(super) struct Flame {
    /// The picture as a `data:` URL; `None` if it is too large.
    pub(super) address: Option<String>,
    /// Height of the frame, in pixels.
    pub(super) height: u32,
    /// Size of the picture, as text for people.
    pub(super) size: String,
    /// Maximum size, as text for people.
    pub(super) limit: String,
    /// Hashes of the picture's scripts, styles and handlers, as the page's content security policy lists them.
    pub(super) scripts: Vec<String>,
    pub(super) styles: Vec<String>,
}

impl Flame {
    pub(super) fn new(svg: &str) -> Self {
        let is_small = svg.len() <= MAX_PICTURE;
        let of = |elements: Vec<String>| elements.iter().map(|text| source(text)).collect::<Vec<_>>();
        let mut scripts = if is_small { of(elements(svg, "script")) } else { Vec::new() };
        if let Some(handler) = attribute(svg, "onload").filter(|_| !scripts.is_empty()) {
            scripts.extend(["'unsafe-hashes'".to_owned(), source(handler)]);
        }
        Self {
            address: is_small.then(|| format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))),
            height: attribute(svg, "height")
                .and_then(|height| height.parse::<f64>().ok())
                .map_or(HEIGHTS.1 / 2, |height| height.ceil() as u32)
                .clamp(HEIGHTS.0, HEIGHTS.1),
            size: human::bytes(svg.len() as u64),
            limit: human::bytes(MAX_PICTURE as u64),
            scripts,
            styles: if is_small { of(elements(svg, "style")) } else { Vec::new() },
        }
    }
}

/// Returns the source expression by which a content security policy allows exactly this script or style.
pub(super) fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// Returns the texts of the elements with this name, as a browser sees them. If a browser parses a text differently, its hash
/// differs and the script does not run: the picture is then shown without search and zoom.
fn elements(svg: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}"), format!("</{name}>"));
    let mut texts = Vec::new();
    let mut rest = svg;
    while let Some((_, after)) = rest.split_once(&begin) {
        let Some((tag, after)) = after.split_once('>') else { break };
        rest = after;
        if tag.ends_with('/') {
            continue;
        }
        let Some((text, after)) = after.split_once(&end) else { break };
        texts.push(text.replace("<![CDATA[", "").replace("]]>", ""));
        rest = after;
    }
    texts
}

/// Returns an attribute of the first `svg` element.
fn attribute<'a>(svg: &'a str, name: &str) -> Option<&'a str> {
    let (_, tag) = svg.split_once("<svg")?;
    let (tag, _) = tag.split_once('>')?;
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    value.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<?xml version=\"1.0\"?><svg width=\"1200\" height=\"310.5\" onload=\"init(evt)\">\
        <style type=\"text/css\">a{}</style><script><![CDATA[one();]]><![CDATA[two();]]></script></svg>";

    #[test]
    fn only_the_pictures_own_scripts_may_run() {
        let flame = Flame::new(SVG);
        assert_eq!(flame.height, 311);
        assert_eq!(
            flame.scripts,
            [source("one();two();"), "'unsafe-hashes'".to_owned(), source("init(evt)")]
        );
        assert_eq!(flame.styles, [source("a{}")]);
        assert!(flame.address.is_some_and(|address| address.starts_with("data:image/svg+xml;base64,PD94")));
        assert_eq!(source(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn a_large_picture_is_left_out() {
        let flame = Flame::new(&format!("{SVG}{}", " ".repeat(MAX_PICTURE)));
        assert_eq!((flame.address, flame.scripts.len(), flame.limit.as_str()), (None, 0, "512 KiB"));
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in
            ["", "<svg", "<svg>", "<script", "<script>", "<script/><script></script>", "<svg height=\"x\">"]
        {
            let flame = Flame::new(text);
            assert!((HEIGHTS.0..=HEIGHTS.1).contains(&flame.height));
        }
    }
}
