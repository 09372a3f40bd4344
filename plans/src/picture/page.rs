//! The shell of pages that need nothing else.

use super::escaped;

/// What a page is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page<'p> {
    /// Its title, any text.
    pub title: &'p str,
    /// CSS.
    pub style: &'p str,
    /// HTML.
    pub body: &'p str,
    /// JavaScript: the inside of a function, in strict mode.
    pub script: &'p str,
    /// JSON, which the script finds as the text of the element `data`.
    pub data: &'p str,
}

impl Page<'_> {
    /// The page as one file: it may ask nothing of any network, and neither its title nor its data can
    /// become part of the page's own text.
    pub fn html(&self) -> String {
        let Page {
            title,
            style,
            body,
            script,
            data,
        } = self;
        let title = escaped(title);
        // Inside a script element, only these could end it or start a comment.
        let data = data
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026");
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}<script type="application/json" id="data">{data}</script>
<script>
"use strict";
(() => {{
{script}}})();
</script>
</body>
</html>
"#
        )
    }
}
