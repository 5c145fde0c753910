use puna_plugin::Error;

/// A template with its places filled: `{name}` becomes the value, percent-encoded (RFC 3986, section 2.3), so that no
/// value leaves its place.
///
/// # Errors
/// Invalid-input for a place with a name that is not known, and for braces that do not match.
pub fn filled(template: &str, values: &[(&str, &str)]) -> Result<String, Error> {
    let wrong = |why: String| Error::invalid_input(format!("`url` in `config`: {why}"));
    let (mut url, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| wrong("a `{` has no `}`".to_owned()))?;
        let (_, value) = values.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
            wrong(format!("`{{{name}}}` is unknown; there are `{{{}}}`", known.join("}`, `{")))
        })?;
        url.push_str(before);
        encode(value, &mut url);
        rest = after;
    }
    url.push_str(rest);
    Ok(url)
}

fn encode(value: &str, url: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}
