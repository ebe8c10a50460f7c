//! Where a split-URL experiment sends a visitor.

/// The address of a variant with the visitor's query string kept.
///
/// Parameters of `visited` that the variant's address does not set itself are appended to it in their order
/// and as they were written; so is the fragment, unless the variant has one.
///
/// ```
/// use domain::rules::redirect_url;
/// let url = redirect_url("https://shop.example/new?v=2", "https://shop.example/old?utm=mail&v=1#reviews");
/// assert_eq!(url, "https://shop.example/new?v=2&utm=mail#reviews");
/// ```
pub fn redirect_url(variant: &str, visited: &str) -> String {
    let (target, target_fragment) = cut(variant, '#');
    let (visited, visited_fragment) = cut(visited, '#');
    let own_query = cut(target, '?').1.unwrap_or("");
    let mut url = target.trim_end_matches('?').to_owned();
    let mut joint = if own_query.is_empty() { '?' } else { '&' };
    for parameter in parameters(cut(visited, '?').1.unwrap_or("")) {
        if parameters(own_query).all(|own| name(own) != name(parameter)) {
            url.push(joint);
            url.push_str(parameter);
            joint = '&';
        }
    }
    if let Some(fragment) = target_fragment.or(visited_fragment) {
        url.push('#');
        url.push_str(fragment);
    }
    url
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at)
        .map_or((text, None), |(before, after)| (before, Some(after)))
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|parameter| !parameter.is_empty())
}

fn name(parameter: &str) -> &str {
    cut(parameter, '=').0
}

#[cfg(test)]
mod tests {
    use super::redirect_url;

    #[test]
    fn the_query_string_is_kept() {
        for (variant, visited, expected) in [
            (
                "https://a.example/b",
                "https://a.example/a",
                "https://a.example/b",
            ),
            (
                "https://a.example/b",
                "https://a.example/a?x=1&x=2&y",
                "https://a.example/b?x=1&x=2&y",
            ),
            (
                "https://a.example/b?x=9",
                "https://a.example/a?x=1&y=2",
                "https://a.example/b?x=9&y=2",
            ),
            (
                "https://a.example/b?",
                "https://a.example/a?&y=a%26b",
                "https://a.example/b?y=a%26b",
            ),
            ("/b#top", "/a?q=1#end", "/b?q=1#top"),
            ("/b", "/a#end?no=query", "/b#end?no=query"),
        ] {
            assert_eq!(redirect_url(variant, visited), expected);
        }
    }
}
