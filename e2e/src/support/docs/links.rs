//! Links between the pages.

use std::{fs, path::Path};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::page::repository;
use crate::support::{Result, TestError};

/// Returns the links and pictures of a page that lead to a missing file, or to a heading that the file does not have.
fn broken(page: &Path) -> Result<Vec<String>> {
    let text = read(page)?;
    let folder = page.parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for event in Parser::new(&text) {
        let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) = event
        else {
            continue;
        };
        if dest_url.contains("://") {
            continue;
        }
        let (file, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
        let target = if file.is_empty() { page.to_owned() } else { folder.join(file) };
        let is_there = repository().join(&target).exists();
        if !is_there || (!anchor.is_empty() && !anchors(&read(&target)?).iter().any(|known| known == anchor))
        {
            broken.push(dest_url.into_string());
        }
    }
    Ok(broken)
}

fn read(page: &Path) -> Result<String> {
    fs::read_to_string(repository().join(page))
        .map_err(TestError::io(format!("read the page {}", page.display())))
}

/// The anchors of a page's headings, as GitHub makes them: in lower case, with hyphens for spaces, without punctuation.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(|heading| anchor(&heading))),
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let letters = heading.to_lowercase();
    letters
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let mut pages = super::pages()?;
    pages.extend(["ARCHITECTURE.md", "CHANGELOG.md"].map(Into::into));
    for page in pages {
        let broken = broken(&page)?;
        assert!(broken.is_empty(), "{} links to {}", page.display(), broken.join(", "));
    }
    assert_eq!(anchors("# One two\n\n## The `chart`, here\n"), ["one-two", "the-chart-here"]);
    Ok(())
}
